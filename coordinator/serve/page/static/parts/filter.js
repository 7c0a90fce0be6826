// A filter over the metadata: an expression, and a form that writes it from the columns that there are.

import { h, put } from "../lib/dom.js";

const SIGNS = { number: ["=", "<", "<=", ">", ">=", "<>"], text: ["=", "<>", "contains", "begins with"] };

// `columns` is a list of {name, type}; `onChange` gets the expression when it is complete.
export function filterForm(columns, expression, onChange) {
  const text = h("input", {
    id: "where", type: "text", value: expression ?? "", placeholder: "width >= 1000", spellcheck: "false",
    autocomplete: "off", autocapitalize: "off", "aria-describedby": "where-help", onchange: () => onChange(text.value.trim()),
  });
  const column = h("select", { id: "column", "aria-label": "Column", onchange: signs }, columns.map(({ name }) => h("option", {}, name)));
  const sign = h("select", { id: "comparison", "aria-label": "Comparison" });
  const value = h("input", { id: "value", type: "text", "aria-label": "Value", autocomplete: "off", onkeydown: (event) => event.key === "Enter" && add(event) });
  const addButton = h("button.quiet", { type: "button", onclick: add }, "Add");

  function kind() {
    const type = columns.find(({ name }) => name === column.value)?.type ?? "text";
    return /int|float|double|decimal|number/i.test(type) ? "number" : "text";
  }

  function signs() {
    put(sign, SIGNS[kind()].map((one) => h("option", {}, one)));
    value.inputMode = kind() === "number" ? "decimal" : "text";
  }

  function add(event) {
    event.preventDefault();
    if (!value.value.trim()) return void value.focus();
    text.value = [text.value.trim(), condition(column.value, sign.value, value.value.trim(), kind())].filter(Boolean).join(" AND ");
    value.value = "";
    onChange(text.value);
  }

  if (columns.length) signs();
  return h(
    "fieldset.filter",
    {},
    h("legend", {}, "Filter"),
    columns.length > 0 && h("div.row", {}, column, sign, value, addButton),
    h("label", { for: "where" }, "Expression"),
    text,
    h("p.quiet-text", { id: "where-help" }, columns.length ? "Only images for which it is true; empty for all." : "SQL over the metadata of the images, such as width >= 1000."),
  );
}

// A comparison as SQL has it: names and texts in quotes of their own, so that no value changes its meaning.
export function condition(column, sign, value, kind) {
  const name = /^[a-z_][a-z0-9_]*$/.test(column) ? column : `"${column.replaceAll('"', '""')}"`;
  if (kind === "number" && value !== "" && Number.isFinite(Number(value))) return `${name} ${sign} ${value}`;
  const quoted = (text) => `'${text.replaceAll("'", "''")}'`;
  if (sign === "contains") return `contains(${name}, ${quoted(value)})`;
  if (sign === "begins with") return `starts_with(${name}, ${quoted(value)})`;
  return `${name} ${sign} ${quoted(value)}`;
}

// Take one picture with the camera.

import { dialog, h } from "../lib/dom.js";

export async function cameraDialog(use, refused) {
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 1920 }, height: { ideal: 1080 } } });
  } catch (error) {
    const none = error.name === "NotFoundError" ? "There is no camera." : "The browser gives no access to the camera.";
    return void refused(`${none} Choose a file instead.`);
  }
  const video = h("video", { autoplay: true, playsinline: true, muted: true, "aria-label": "What the camera sees" });
  video.srcObject = stream;
  const take = h("button.main", { type: "button", disabled: true, onclick: taken }, "Take the picture");
  const shown = dialog("Camera", h("div.stack", {}, video), take);
  shown.classList.add("wide");
  shown.addEventListener("close", () => stream.getTracks().forEach((track) => track.stop()));
  video.addEventListener("loadeddata", () => ((take.disabled = false), take.focus()));

  function taken() {
    const still = h("canvas", { width: video.videoWidth, height: video.videoHeight });
    still.getContext("2d").drawImage(video, 0, 0);
    still.toBlob((blob) => (shown.close(), use(blob)), "image/jpeg", 0.95);
  }
}

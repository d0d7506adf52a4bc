// Loads the wasm module. The bundle has its own form of this file, with hashed names.

export const glue = import("./tandem_bg.js").then(({ default: init, Session }) => ({
  init: () => init(),
  Session,
}));

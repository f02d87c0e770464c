// Browsers start no web worker from file://. There the search, which is one, runs in a hidden frame.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      const base = new URL(url, document.baseURI)
      const frame = document.createElement("iframe")
      frame.hidden = true
      document.body.append(frame)
      const inner = frame.contentWindow
      inner.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }))
      const load = (source) =>
        new Promise((resolve) => {
          const script = inner.document.createElement("script")
          script.src = new URL(source, base)
          script.onload = resolve
          inner.document.body.append(script)
        })
      inner.importScripts = async (...sources) => {
        for (const source of sources) await load(source)
      }
      const started = load(base)
      this.postMessage = (data) => started.then(() => inner.dispatchEvent(new MessageEvent("message", { data })))
    }
  }
}

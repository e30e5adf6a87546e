// What the pack adds to ComfyUI's front end: a live loss curve on nodes that train or search, a slider over the two
// pictures of Compare Faces, and latent files that can be dropped onto the canvas or onto Load Latents.
//
// Only the front end's public interface is used. A part whose interface is missing leaves itself out.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { LossCurve } from "./loss_curve.js";
import { CompareSlider } from "./compare_slider.js";
import { addLatentNode, isLatentFile, latentFileOf, mayBeLatent, takeLatentFile } from "./latent_files.js";

const LOSSES = "facestylist.losses";
const COMPARE = "FaceStylistCompare";
const LOAD_LATENTS = "FaceStylistLoadLatents";

/** Puts an element into a node as a widget that is saved neither in the workflow nor in the prompt. */
function addElement(node, name, element, height) {
  const widget = node.addDOMWidget(name, `facestylist_${name.replaceAll(" ", "_")}`, element, {
    serialize: false,
    getMinHeight: () => height,
    getValue: () => undefined,
    setValue: () => {},
  });
  widget.serialize = false;
  const [width, present] = node.size;
  node.setSize([width, Math.max(present, node.computeSize()[1])]);
  return widget;
}

/** The node of an id such as `7`, or `3:7` for node 7 in subgraph 3. */
function nodeOf(id) {
  let graph = app.graph;
  let node = null;
  for (const part of String(id).split(":")) {
    node = graph?.getNodeById(Number(part)) ?? null;
    graph = node?.subgraph;
  }
  return node;
}

function showLosses({ node: id, total, rows }) {
  const node = nodeOf(id);
  if (typeof node?.addDOMWidget !== "function" || !rows?.length) return;
  if (!node.facestylistCurve) {
    node.facestylistCurve = new LossCurve();
    addElement(node, "loss curve", node.facestylistCurve.element, LossCurve.height);
  }
  node.facestylistCurve.add(rows, total);
}

/** Addresses of pictures that a node showed. */
function addresses(entries) {
  return (entries ?? []).map((entry) => {
    const query = new URLSearchParams({ ...entry, rand: Math.random().toString() });
    return api.apiURL(`/view?${query}`);
  });
}

function prepareCompare(nodeType) {
  const created = nodeType.prototype.onNodeCreated;
  nodeType.prototype.onNodeCreated = function (...args) {
    const result = created?.apply(this, args);
    if (typeof this.addDOMWidget === "function") {
      this.facestylistSlider = new CompareSlider();
      addElement(this, "compare", this.facestylistSlider.element, CompareSlider.height);
    }
    return result;
  };
  const executed = nodeType.prototype.onExecuted;
  nodeType.prototype.onExecuted = function (output) {
    executed?.apply(this, arguments);
    this.facestylistSlider?.show(addresses(output?.a_images), addresses(output?.b_images));
  };
}

function prepareLoadLatents(nodeType) {
  nodeType.prototype.onDragOver = (event) => mayBeLatent(event.dataTransfer);
  nodeType.prototype.onDragDrop = async function (event) {
    const file = latentFileOf(event.dataTransfer);
    return file ? takeLatentFile(api, this, file) : false;
  };
}

/** A latent file that is dropped where no node takes it becomes a Load Latents node; any other file goes its old way. */
async function dropOnCanvas(event) {
  const file = latentFileOf(event.dataTransfer);
  if (!file || app.dragOverNode?.onDragDrop || !app.canvas) return;
  const place = app.canvas.convertEventToCanvasOffset(event);
  // Whether a .safetensors is a latent is known only once it has been read, and the event does not wait.
  event.preventDefault();
  event.stopImmediatePropagation();
  if (await isLatentFile(file)) {
    await addLatentNode(app, api, LOAD_LATENTS, file, place);
  } else {
    app.handleFile?.(file);
  }
}

app.registerExtension({
  name: "FaceStylist",
  setup() {
    api.addEventListener(LOSSES, ({ detail }) => showLosses(detail));
    document.addEventListener("drop", dropOnCanvas, { capture: true });
  },
  beforeRegisterNodeDef(nodeType, nodeData) {
    if (nodeData.name === COMPARE) prepareCompare(nodeType);
    if (nodeData.name === LOAD_LATENTS) prepareLoadLatents(nodeType);
  },
});

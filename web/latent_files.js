// Latent files from the desktop: told from others, uploaded into the input folder, and put into a Load Latents node.

const FOLDER = "facestylist";
const LARGEST_HEADER = 16 << 20;

/** Whether what is dragged could be a latent file; its name is not known before it is dropped. */
export function mayBeLatent(transfer) {
  return [...(transfer?.items ?? [])].some((item) => item.kind === "file" && !item.type.startsWith("image/"));
}

/** The single dropped file, where its name is that of a file of latents or arrays. */
export function latentFileOf(transfer) {
  const files = [...(transfer?.files ?? [])];
  return files.length === 1 && /\.(safetensors|npy|npz)$/i.test(files[0].name) ? files[0] : null;
}

/** Whether a file holds latents: arrays do, and a .safetensors says so in its header. */
export async function isLatentFile(file) {
  if (!/\.safetensors$/i.test(file.name)) return true;
  try {
    const size = Number(new DataView(await file.slice(0, 8).arrayBuffer()).getBigUint64(0, true));
    if (size > LARGEST_HEADER) return false;
    const { __metadata__: told } = JSON.parse(await file.slice(8, 8 + size).text());
    return told?.format === "facestylist" && told?.kind === "set of latents";
  } catch {
    return false;
  }
}

/** Uploads the file and names it in the node's `file` input; whether that worked. */
export async function takeLatentFile(api, node, file) {
  const widget = node.widgets?.find(({ name }) => name === "file");
  if (!widget) return false;
  const form = new FormData();
  form.append("image", file, file.name);
  form.append("subfolder", FOLDER);
  const answer = await api.fetchApi("/upload/image", { method: "POST", body: form });
  if (!answer.ok) return false;
  const { name, subfolder } = await answer.json();
  widget.value = subfolder ? `${subfolder}/${name}` : name;
  widget.callback?.(widget.value);
  node.setDirtyCanvas?.(true, true);
  return true;
}

/** A new Load Latents node for a file, where it was dropped. */
export async function addLatentNode(app, api, type, file, [x, y]) {
  const node = window.LiteGraph?.createNode(type);
  if (!node) return;
  node.pos = [x, y];
  app.graph.add(node);
  if (!(await takeLatentFile(api, node, file))) app.graph.remove(node);
}

import type { HuggingFaceCheckpoint } from '@kvlr/checkpoint';
import { openCheckpointDirectory } from '@kvlr/checkpoint/node';
import { referenceModelDirectory } from '@kvlr/reference-model/node';

export interface OpenedModel {
  checkpoint: HuggingFaceCheckpoint;
  /** For people: the path as it was typed. */
  name: string;
  /** True without CKPT: the model that comes with kvlr. */
  embedded: boolean;
}

/** Opens the checkpoint at a path, or the embedded one. */
async function openModel(path: string | undefined): Promise<OpenedModel> {
  const checkpoint = await openCheckpointDirectory(path ?? referenceModelDirectory);
  return { checkpoint, name: path ?? 'embedded reference model', embedded: path === undefined };
}

/** Opens a checkpoint for as long as it is used. */
export async function withModel<Value>(
  path: string | undefined,
  work: (model: OpenedModel) => Promise<Value>,
): Promise<Value> {
  const model = await openModel(path);
  try {
    return await work(model);
  } finally {
    await model.checkpoint.close();
  }
}

import type { ArchitectureDescriptor, HuggingFaceCheckpoint } from '@kvlr/checkpoint';
import { openSource } from '@kvlr/checkpoint/node';
import type { RunControl } from '@kvlr/core';
import { referenceModelDirectory } from '@kvlr/reference-model/node';

export interface OpenedModel {
  checkpoint: HuggingFaceCheckpoint;
  /** For people: CKPT as it was typed. */
  name: string;
  /** True for the model that comes with kvlr. */
  embedded: boolean;
}

/** What recipes name the model by: the word or the location that opens it again. */
export function locationOf({ embedded, name }: OpenedModel): string {
  return embedded ? 'embedded' : name;
}

/** What a command's context brings: who hears of a download and stops it, and families besides the built-in ones. */
export interface OpenModelControl extends RunControl {
  architectures?: readonly ArchitectureDescriptor[];
}

/** Opens CKPT (a directory, a hub id, a URL), or the embedded model. A model of the hub is loaded into the cache first. */
async function openModel(location: string | undefined, control: OpenModelControl): Promise<OpenedModel> {
  const embedded = location === undefined || location === 'embedded';
  const checkpoint = await openSource(embedded ? referenceModelDirectory : location, {
    onEvent: control.onEvent,
    signal: control.signal,
    architectures: control.architectures,
  });
  return { checkpoint, name: embedded ? 'embedded reference model' : location, embedded };
}

/**
 * Opens a checkpoint for as long as it is used; without a location, or with the word 'embedded', the embedded model. `control` hears of
 * a download and stops it.
 */
export async function withModel<Value>(
  location: string | undefined,
  control: OpenModelControl,
  work: (model: OpenedModel) => Promise<Value>,
): Promise<Value> {
  const model = await openModel(location, control);
  try {
    return await work(model);
  } finally {
    await model.checkpoint.close();
  }
}

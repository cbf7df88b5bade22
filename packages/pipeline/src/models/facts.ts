import type { CheckpointFiles } from '@kvlr/checkpoint';
import type { Checkpoint, DecoderShape, TensorDtype } from '@kvlr/core';
import { parse } from 'yaml';

/** Element type of a model's attention weights, of quantised ones that in which they are written. Cache sizes are stated at its width. */
export function attentionDtype(model: Checkpoint): TensorDtype {
  return model.writtenDtype ?? model.tensors.info(model.tensorName('keyWeight', 0)).dtype;
}

const bytesOfDtype: Partial<Record<TensorDtype, number>> = { F32: 4, F16: 2, BF16: 2 };

/** Bytes of one number of the cache when it has the element type of the weights; 2 for types that no cache uses. */
export function cacheElementBytes(dtype: TensorDtype): number {
  return bytesOfDtype[dtype] ?? 2;
}

/** Models of at most so many float32 bytes run whole in native code; larger ones run in parts. */
export const wholeModelBytes = 2 ** 30;

/** Context lengths at which reports show the size of the cache: doublings up to the model's own limit, at most six. */
export function reportContexts(shape: DecoderShape): number[] {
  const contexts = [shape.maxPositionEmbeddings];
  while (contexts.length < 6 && contexts[0]! > 256) contexts.unshift(Math.ceil(contexts[0]! / 2));
  return contexts;
}

/** A model card begins with its metadata, in YAML between two lines of dashes. */
const frontMatter = /^---\r?\n([\s\S]*?)\r?\n---(\r?\n|$)/;

/**
 * The licence that a checkpoint's model card (README.md) states in its metadata, as on Hugging Face: `license_name` where
 * `license` is 'other'. Undefined without a card, or when the card states none.
 */
export async function readLicence(files: CheckpointFiles): Promise<string | undefined> {
  if (!(await files.list()).includes('README.md')) return undefined;
  const metadata = parseMetadata(new TextDecoder().decode(await files.read('README.md')));
  const { license, license_name: licenseName } = metadata;
  const stated = license === 'other' ? licenseName : license;
  return typeof stated === 'string' && stated !== '' && stated !== 'unknown' ? stated : undefined;
}

function parseMetadata(card: string): Record<string, unknown> {
  const text = frontMatter.exec(card)?.[1];
  if (text === undefined) return {};
  try {
    const metadata: unknown = parse(text);
    return typeof metadata === 'object' && metadata !== null ? { ...metadata } : {};
  } catch {
    // Other people's cards are not always YAML; such a card states nothing.
    return {};
  }
}

import { type CacheCodec, Registry, type StandardSchema } from '@kvlr/core';
import { affineCodecs } from './codecs/affine.ts';
import { channelCodecs } from './codecs/channel.ts';
import { decompositionCodecs } from './codecs/decomposition.ts';
import { floatCodecs } from './codecs/floats.ts';
import { gaussianCodecs } from './codecs/gaussian.ts';
import { ggmlCodecs } from './codecs/ggml-blocks.ts';
import { kltCodecs } from './codecs/klt.ts';
import { sparseCodecs } from './codecs/sparse.ts';
import { subspaceCodecs } from './codecs/subspace.ts';

/** Every codec that can be asked for by name. */
export const builtInCodecs = {
  ...floatCodecs,
  ...affineCodecs,
  ...channelCodecs,
  ...kltCodecs,
  ...ggmlCodecs,
  ...gaussianCodecs,
  ...subspaceCodecs,
  ...decompositionCodecs,
  ...sparseCodecs,
} satisfies Record<string, CacheCodec>;

/** A registry of the built-in codecs; with a schema, modules that export a codec can be asked for by path. */
export function codecRegistry(schema?: StandardSchema<CacheCodec>): Registry<CacheCodec> {
  return new Registry({
    kind: 'cache codec',
    entries: builtInCodecs,
    ...(schema && { schema }),
    example: 'Write: export default { title, keys: format, values: format }; see examples/caches/bfloat.mjs.',
  });
}

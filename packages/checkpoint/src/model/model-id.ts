import type { SafetensorsSource } from '../safetensors/safetensors-source.ts';
import { sha256 } from './sha256.ts';

const sampleBytes = 64 * 1024;
const readsAtOnce = 8;

/**
 * Identity of a model: the SHA-256 of its config (keys sorted) and, for each tensor in order of name, of name, type,
 * shape and its first and last 64 KiB. Cheap for large files, equal for copies and for other shardings of the same
 * tensors. A change that touches only the middle of large tensors is not seen.
 */
export async function modelId(config: Record<string, unknown>, tensors: SafetensorsSource): Promise<string> {
  const inOrder = tensors.list().sort((a, b) => (a.name < b.name ? -1 : 1));
  const lines: string[] = [stableJson(config)];
  for (let first = 0; first < inOrder.length; first += readsAtOnce) {
    const digests = inOrder.slice(first, first + readsAtOnce).map(async ({ name, dtype, shape, byteLength }) => {
      const sample =
        byteLength <= 2 * sampleBytes
          ? [await tensors.readBytes(name)]
          : await Promise.all([
              tensors.readByteRange(name, 0, sampleBytes),
              tensors.readByteRange(name, byteLength - sampleBytes, byteLength),
            ]);
      const hashes = await Promise.all(sample.map(sha256));
      return `${name} ${dtype} [${shape}] ${hashes.join(' ')}`;
    });
    lines.push(...(await Promise.all(digests)));
  }
  return sha256(lines.join('\n'));
}

function stableJson(value: unknown): string {
  return JSON.stringify(value, (_, part: unknown) =>
    typeof part === 'object' && part !== null && !Array.isArray(part)
      ? Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1)))
      : part,
  );
}

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** What transformers computes for one prompt, float32. */
export interface GoldenWindow {
  tokenIds: Int32Array;
  /** [tokens, vocabSize] */
  logits: Float32Array;
  /**
   * Logits of the last tokens as they come one by one behind a cache, where they are others than those of the whole prompt: frequencies
   * of RoPE that change as the text grows turn deeper layers' tokens otherwise. Keys are rotated anew at every step.
   */
  decoded?: Float32Array | undefined;
  /** The cache after the prompt: of each layer [heads, tokens, headDim], keys after RoPE. */
  keys: Float32Array[];
  values: Float32Array[];
}

/** A tiny checkpoint in Hugging Face's layout, with what transformers computes with it. */
export interface Golden {
  name: string;
  directory: string;
  /** One prompt of 24 tokens, and one of 40 where a window or the length of the text matters. */
  windows: GoldenWindow[];
}

/**
 * 'goldens': one or more of each model family. 'goldens-wide': some of them with wide heads. 'goldens-adapters': adapters of peft, with
 * what it computes with them over one of the first.
 */
type GoldenSet = 'goldens' | 'goldens-wide' | 'goldens-adapters';

/** The golden checkpoints: `goldens/README.md` says what each exercises. */
export function goldenNames(set: GoldenSet = 'goldens'): string[] {
  const entries = readdirSync(goldenFolder(set), { withFileTypes: true });
  return entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
}

function goldenFolder(set: GoldenSet): string {
  return fileURLToPath(new URL(`../${set}/`, import.meta.url));
}

export function readGolden(name: string, set: GoldenSet = 'goldens'): Golden {
  const directory = join(goldenFolder(set), name);
  const tensors = readTensors(join(directory, 'golden.safetensors'));
  const ofLayers = (prefix: string) => {
    const layers: Float32Array[] = [];
    while (tensors.has(`${prefix}.${layers.length}`)) {
      layers.push(tensors.get(`${prefix}.${layers.length}`) as Float32Array);
    }
    return layers;
  };
  const windows = ['', 'long.']
    .filter((prefix) => tensors.has(`${prefix}logits`))
    .map((prefix): GoldenWindow => {
      return {
        tokenIds: tensors.get(`${prefix}input_ids`) as Int32Array,
        logits: tensors.get(`${prefix}logits`) as Float32Array,
        decoded: tensors.get(`${prefix}decoded`) as Float32Array | undefined,
        keys: ofLayers(`${prefix}key`),
        values: ofLayers(`${prefix}value`),
      };
    });
  return { name, directory, windows };
}

/** All tensors of a safetensors file of F32 and I64, the latter as 32 bits. */
function readTensors(path: string): Map<string, Float32Array | Int32Array> {
  const bytes = readFileSync(path);
  const start = 8 + Number(bytes.readBigUInt64LE(0));
  const header: Record<string, { dtype: string; data_offsets: [number, number] }> = JSON.parse(
    bytes.subarray(8, start).toString(),
  );
  const { __metadata__, ...entries } = header;
  return new Map(
    Object.entries(entries).map(
      ([
        name,
        {
          dtype,
          data_offsets: [from, to],
        },
      ]) => {
        const { buffer } = Uint8Array.from(bytes.subarray(start + from, start + to));
        return [name, dtype === 'F32' ? new Float32Array(buffer) : Int32Array.from(new BigInt64Array(buffer), Number)];
      },
    ),
  );
}

import { asciiTokenizerFiles } from './ascii-tokenizer-files.ts';
import { createTinyModel, type TinyModelSettings } from './tiny-model.ts';

/**
 * The files of a checkpoint directory by name: a tiny random LLaMA in F32 (by default 2 layers, 4 KV heads of width 8, context 128),
 * a tokenizer for ASCII, a model card.
 */
export async function tinyCheckpointFiles(
  settings: Omit<TinyModelSettings, 'rope'> = {},
): Promise<Record<string, string | Uint8Array>> {
  const { shape, dense } = createTinyModel({ vocabSize: 100, ...settings });
  const config = {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    hidden_size: shape.hiddenSize,
    intermediate_size: shape.feedForward.intermediateSize,
    num_hidden_layers: shape.numLayers,
    num_attention_heads: shape.numAttentionHeads,
    num_key_value_heads: shape.numKeyValueHeads,
    head_dim: shape.headDim,
    hidden_act: 'silu',
    max_position_embeddings: shape.maxPositionEmbeddings,
    rms_norm_eps: shape.blocks.norm.epsilon,
    rope_theta: 10000,
    tie_word_embeddings: shape.head.tied,
    attention_bias: shape.attention.inputBias,
    mlp_bias: shape.feedForward.bias,
    vocab_size: shape.vocabSize,
    torch_dtype: 'float32',
  };
  return {
    'config.json': JSON.stringify(config),
    'model.safetensors': safetensors(dense),
    ...asciiTokenizerFiles(),
    'README.md': '---\nlicense: mit\n---\n# A tiny model\n',
  };
}

/** The safetensors format by its definition: the header's length, the header as JSON, the numbers. */
function safetensors(tensors: ReturnType<typeof createTinyModel>['dense']): Uint8Array {
  const header: Record<string, object> = {};
  let end = 0;
  for (const [name, { shape, data }] of tensors) {
    const start = end;
    end += 4 * data.length;
    header[name] = { dtype: 'F32', shape, data_offsets: [start, end] };
  }
  const text = new TextEncoder().encode(JSON.stringify(header));
  const file = new Uint8Array(8 + text.length + end);
  new DataView(file.buffer).setBigUint64(0, BigInt(text.length), true);
  file.set(text, 8);
  let place = 8 + text.length;
  for (const { data } of tensors.values()) {
    const bytes = new Uint8Array(Float32Array.from(data).buffer);
    file.set(bytes, place);
    place += bytes.length;
  }
  return file;
}

/** A recipe that a tiny model goes through in about a second. */
export const tinyRecipe = {
  calibration: { windows: 3, windowLength: 32 },
  headWidth: 1,
  recovery: {
    preset: 'light' as const,
    ...{ steps: 2, evaluateEvery: 1, trainingWindows: 2, heldOutWindows: 1, windowLength: 32 },
  },
  evaluation: { windowsPerSource: 2, windowLength: 33 },
};

/** An entry `distillation` for the recovery of `tinyRecipe`. */
export const tinyDistillation = {
  preset: 'light' as const,
  ...{ steps: 4, warmupSteps: 1, piecesPerStep: 1, evaluateEvery: 1, windowLength: 32 },
};

const sentence = 'The sea was calm, and the ship lay still under a grey sky; nobody spoke of the harbour any more. ';

/** Texts for `tinyRecipe`. */
export const tinyTexts = {
  calibration: [{ source: 'sea', text: sentence.repeat(4) }],
  evaluation: [
    { source: 'sea', text: `Later ${sentence.repeat(2)}` },
    {
      source: 'land',
      text: 'Hills rose behind the town, green at first and then blue, and then only a guess in the haze.',
    },
  ],
};

/** What decides the size of a model's cache, from its config.json. */
export interface CachedModel {
  name: string;
  numLayers: number;
  keyValueHeads: number;
  headDim: number;
}

/** Models that people know: num_hidden_layers, num_key_value_heads and head_dim of their config files. */
export const knownModels: readonly CachedModel[] = [
  { name: 'Llama-3.1-8B', numLayers: 32, keyValueHeads: 8, headDim: 128 },
  { name: 'Llama-3.2-1B', numLayers: 16, keyValueHeads: 8, headDim: 64 },
  { name: 'Llama-2-7B', numLayers: 32, keyValueHeads: 32, headDim: 128 },
  { name: 'Qwen2.5-7B', numLayers: 28, keyValueHeads: 4, headDim: 128 },
  { name: 'Mistral-7B', numLayers: 32, keyValueHeads: 8, headDim: 128 },
  { name: 'Gemma-7B', numLayers: 28, keyValueHeads: 16, headDim: 256 },
  { name: 'SmolLM2-135M', numLayers: 30, keyValueHeads: 3, headDim: 64 },
];

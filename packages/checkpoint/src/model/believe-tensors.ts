import type { DecoderShape, EventListener } from '@kvlr/core';
import type { ArchitectureDescriptor, Setting } from '../architectures/architecture.ts';
import { modelShapeFromConfig } from '../config/read-config.ts';
import { writeSetting } from '../config/settings.ts';
import type { SafetensorsSource } from '../safetensors/read.ts';
import { tensorLayout } from './stored-tensors.ts';

type Config = Record<string, unknown>;
type StoredFiles = Pick<SafetensorsSource, 'has' | 'info' | 'list' | 'readByteRange'>;

interface Correction {
  config: Config;
  /** What was corrected, in words. */
  message: string;
}

/**
 * config.json as the weights bear it out. Whether the head is the embedding and whether there are biases is what the files hold, whatever
 * a flag says: a head of its own is used, and so are biases that are there for every layer; what is nowhere is not asked for. Each
 * correction is told as a warning, and which tensors have no part in the model as a note.
 */
export async function believeTensors(
  given: Config,
  architecture: ArchitectureDescriptor,
  stored: StoredFiles,
  onEvent?: EventListener,
): Promise<Config> {
  const model = new StoredModel(architecture, stored);
  let config = given;
  const take = (correction: Correction | undefined): void => {
    if (correction === undefined) return;
    config = correction.config;
    onEvent?.({ type: 'warning', message: correction.message });
  };
  take(await model.correctHead(config));
  const { attention, feedForward, head } = architecture.shape;
  take(model.correctBiases(config, attention?.inputBias, (shape) => shape.attention.inputBias));
  take(model.correctBiases(config, attention?.outputBias, (shape) => shape.attention.outputBias));
  take(model.correctBiases(config, feedForward.bias, (shape) => shape.feedForward.bias));
  take(model.correctBiases(config, head.bias, (shape) => shape.head.bias));
  const unused = model.unusedNames(config);
  if (unused.length > 0) {
    const subject = unused.length === 1 ? 'A stored tensor has' : `${unused.length} stored tensors have`;
    const verb = unused.length === 1 ? 'is' : 'are';
    onEvent?.({
      type: 'note',
      message: `${subject} no part in this model and ${verb} not computed with: ${some(unused)}.`,
      data: { unused },
    });
  }
  return config;
}

/** The tensors of the files, under the eyes of one family. */
class StoredModel {
  readonly #architecture: ArchitectureDescriptor;
  readonly #stored: StoredFiles;

  constructor(architecture: ArchitectureDescriptor, stored: StoredFiles) {
    this.#architecture = architecture;
    this.#stored = stored;
  }

  async correctHead(config: Config): Promise<Correction | undefined> {
    const { tensors, shape: rules } = this.#architecture;
    if (tensors.languageModelHead === undefined) return undefined;
    const layout = tensorLayout(this.#architecture, false, (name) => this.#stored.has(name));
    const [name, embedding] = [layout.tensorName('languageModelHead'), layout.tensorName('embedding')];
    const shape = this.#shape(config);
    const { tied } = shape.head;
    if (tied !== this.#stored.has(name) || !this.#stored.has(embedding)) return undefined;
    const isEmbeddingFit = shape.embedding.width === shape.hiddenSize;
    if (tied ? await this.#areEqual(name, embedding) : !isEmbeddingFit) return undefined;
    const message = tied
      ? `config.json says that the head is the embedding, but ${name} differs from it: ${name} is used.`
      : `config.json says that the head is not the embedding, but there is no ${name}: the embedding is used.`;
    return this.#flipped(config, rules.head.tied, ({ head }) => head.tied, message);
  }

  /** Biases under one flag are used if all of them are there, and not asked for if none is. */
  correctBiases(
    config: Config,
    setting: Setting | undefined,
    hasBiases: (shape: DecoderShape) => boolean,
  ): Correction | undefined {
    const isOn = hasBiases(this.#shape(config));
    const other = this.#flipped(config, setting, hasBiases, '');
    if (other === undefined) return undefined;
    const [more, fewer] = isOn ? [config, other.config] : [other.config, config];
    const without = new Set(this.#names(fewer));
    const biases = this.#names(more).filter((name) => !without.has(name));
    const present = biases.filter((name) => this.#stored.has(name)).length;
    if (biases.length === 0 || present !== (isOn ? 0 : biases.length)) return undefined;
    const message = isOn
      ? `config.json says that there are biases (${some(biases)}), but none is stored: the model is run without.`
      : `config.json says that there are no biases, but they are stored (${some(biases)}): they are used.`;
    return { ...other, message };
  }

  unusedNames(config: Config): string[] {
    const used = new Set(this.#names(config));
    const stored = this.#stored.list().map(({ name }) => name);
    return stored.filter((name) => !used.has(name));
  }

  /** The config with a flag turned over, if the family has such a flag. */
  #flipped(
    config: Config,
    setting: Setting | undefined,
    read: (shape: DecoderShape) => boolean,
    message: string,
  ): Correction | undefined {
    const value = !read(this.#shape(config));
    const changed = { ...config };
    writeSetting(changed, setting, value);
    return read(this.#shape(changed)) === value ? { config: changed, message } : undefined;
  }

  #shape(config: Config): DecoderShape {
    return modelShapeFromConfig(config, this.#architecture);
  }

  /** Names of the tensors that the files of a model with this config hold. */
  #names(config: Config): string[] {
    const shape = this.#shape(config);
    const layout = tensorLayout(this.#architecture, shape.head.tied, (name) => this.#stored.has(name));
    return layout.stored(shape).map(({ name }) => name);
  }

  async #areEqual(one: string, other: string): Promise<boolean> {
    const [a, b] = [this.#stored.info(one), this.#stored.info(other)];
    if (a.dtype !== b.dtype || a.shape.join() !== b.shape.join()) return false;
    for (let start = 0; start < a.byteLength; start += comparedBytes) {
      const end = Math.min(a.byteLength, start + comparedBytes);
      const [left, right] = await Promise.all([one, other].map((name) => this.#stored.readByteRange(name, start, end)));
      if (!left!.every((byte, index) => byte === right![index])) return false;
    }
    return true;
  }
}

const comparedBytes = 4 * 1024 * 1024;

/** The first names of a list, and how many there are besides. */
function some(names: readonly string[]): string {
  const shown = names.slice(0, 3).join(', ');
  return names.length > 3 ? `${shown} and ${names.length - 3} more` : shown;
}

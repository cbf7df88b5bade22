import { describeEngines } from '@kvlr/checkpoint';
import { type Checkpoint, cacheSize, countParameters, type DecoderShape, type PositionShape } from '@kvlr/core';
import {
  attentionDtype,
  cacheElementBytes,
  compressionMethods,
  foreseeOutcome,
  measureSpectra,
  type Outcome,
  parseRecipe,
} from '@kvlr/pipeline';
import { effectiveRank, energyShare, formatBytes, formatExactBytes, type LayerSpectra, layoutKind } from '@kvlr/report';
import { spectraTerminal } from '@kvlr/report/terminal';
import { prepareNodeRuntime } from '@kvlr/runtime/node';
import type { Command } from 'commander';
import { withModel } from '../inputs/models.ts';
import { loadCalibrationTexts, nameTextFiles, type TextOptions } from '../inputs/texts.ts';
import { runtimeOf, withWorkers } from '../machine.ts';
import {
  addComputeOptions,
  addTextOptions,
  type ComputeOptions,
  modelArgument,
  modelArgumentHelp,
} from '../options/options.ts';
import { parseCount } from '../options/parse-values.ts';
import type { CommandContext } from '../terminal/terminal.ts';

interface InspectOptions extends TextOptions, ComputeOptions {
  spectra?: boolean;
  windows: number;
}

export function define(command: Command, context: CommandContext): void {
  command
    .argument(modelArgument, modelArgumentHelp)
    .option('--spectra', 'run the calibration text and print how much of each cache a part of its directions holds')
    .option('--windows <n>', 'windows of 512 tokens for --spectra', parseCount, 8);
  addTextOptions(command, { calibration: true, evaluation: false });
  addComputeOptions(command).action(async (path: string | undefined, options: InspectOptions) => {
    await withModel(path, context, async ({ checkpoint, name }) => {
      const { shape } = checkpoint;
      const dtype = attentionDtype(checkpoint);
      const cache = cacheSize(shape, cacheElementBytes(dtype));
      const parameters = countParameters(checkpoint);
      const spectra = options.spectra ? await spectraOf(checkpoint, options, context) : undefined;

      context.print(`${name}\n`);
      context.print(
        `Architecture         ${shape.architecture}, ${parameters.toLocaleString('en-US')} parameters, ${checkpoint.quantisedAs ?? dtype}`,
      );
      context.print(`Layers               ${shape.numLayers}, width ${shape.hiddenSize}`);
      context.print(`Heads                ${describeHeads(shape)}`);
      context.print(
        `Context              ${shape.maxPositionEmbeddings.toLocaleString('en-US')} tokens, ${describePositions(shape)}`,
      );
      context.print(
        `KV cache per token   ${formatExactBytes(cache.bytesPerToken)}${describeProduct(shape, cache.bytesPerElement)}`,
      );
      const full = cache.bytesPerToken * shape.maxPositionEmbeddings;
      context.print(`KV cache, full       ${formatBytes(full)} for one sequence of the whole context`);
      const compressed = foreseen(checkpoint);
      if (compressed) context.print(`Compressed           ${describeOutcome(compressed)}`);
      context.print(`Id                   ${checkpoint.id}`);
      if (spectra) context.print(`\n${spectraTerminal(spectra, context.terminal.styles)}`);
      context.printJson({
        name,
        id: checkpoint.id,
        shape,
        dtype,
        quantisedAs: checkpoint.quantisedAs,
        parameters,
        cache,
        spectra: spectra?.map(withEnergy),
        compressed,
      });
    });
  });
}

/** The spectra of a layer, and for each the share of its energy in the first quarter of the directions and its effective rank. */
function withEnergy(spectra: LayerSpectra) {
  const energyOf = (eigenvalues: ArrayLike<number>) => ({
    firstQuarter: energyShare(eigenvalues, 0.25),
    effectiveRank: effectiveRank(eigenvalues),
  });
  const { keysBeforeRope, keysAfterRope, values } = spectra;
  const energy = {
    keysBeforeRope: energyOf(keysBeforeRope),
    keysAfterRope: energyOf(keysAfterRope),
    values: energyOf(values),
  };
  return { ...spectra, energy };
}

/** What the default recipe would leave with as few KV heads as can be; undefined where there is nothing to merge. */
function foreseen(checkpoint: Checkpoint): Outcome | undefined {
  const { numKeyValueHeads, layers } = checkpoint.shape;
  if (numKeyValueHeads === 1 || layers.some(({ cache }) => cache.keys !== 'stock')) return undefined;
  const method = compressionMethods.get(parseRecipe({}).method as string);
  const heads = { keyValueHeads: 1, headWidth: 1 };
  return foreseeOutcome({ model: checkpoint, method, ...heads, uniform: true, contiguous: true });
}

function describeOutcome({ loadsInto, approximation }: Outcome): string {
  const merges = approximation ? `approximate merges (${approximation})` : 'exact merges';
  return `${merges}; loads into ${describeEngines(loadsInto)}`;
}

function describeHeads(shape: DecoderShape): string {
  return `${shape.numAttentionHeads} query heads, ${describeKeyValueHeads(shape)}, width ${shape.headDim}`;
}

function describeKeyValueHeads(shape: DecoderShape): string {
  const layout = layoutKind(shape);
  switch (layout) {
    case 'stock':
      return `${shape.numKeyValueHeads} KV ${shape.numKeyValueHeads === 1 ? 'head' : 'heads'}`;
    case 'per-layer heads': {
      const counts = shape.layers.map(({ cache: { keySlots } }) => keySlots).join(' ');
      return `${counts} KV heads by layer (kvlr, and llama.cpp through GGUF)`;
    }
    default:
      return `${layout} (kvlr only)`;
  }
}

function describePositions({ layers, embedding, headDim }: DecoderShape): string {
  const others = { alibi: 'ALiBi', none: embedding.learnedPositions ? 'learned positions' : 'no positions' };
  const kindOf = (positions: PositionShape): string => {
    if (positions.kind !== 'rope') return others[positions.kind];
    const { rope, rotaryDim } = positions;
    const part = rotaryDim < headDim ? ` on ${rotaryDim} of ${headDim} numbers` : '';
    const from = rope.type === 'dynamic' ? ` beyond ${rope.originalMaxPositionEmbeddings.toLocaleString('en-US')}` : '';
    return `RoPE ${rope.type}${from}${part}`;
  };
  const kinds = layers.map(({ positions, window }) => {
    const within = window === undefined ? '' : ` in windows of ${window.toLocaleString('en-US')}`;
    return kindOf(positions) + within;
  });
  return [...new Set(kinds)].join(', ');
}

/** The product behind the figure, for ordinary grouped-query attention. */
function describeProduct(shape: DecoderShape, bytesPerElement: number): string {
  const stock = shape.layers.every(
    ({ cache: layout }) => layout.keys === 'stock' && layout.keySlots === shape.numKeyValueHeads,
  );
  if (!stock) return '';
  return ` = 2 x ${shape.numLayers} layers x ${shape.numKeyValueHeads} KV heads x ${shape.headDim} x ${bytesPerElement} bytes`;
}

async function spectraOf(
  model: Checkpoint,
  options: InspectOptions,
  { onEvent, signal }: CommandContext,
): Promise<LayerSpectra[]> {
  const texts = await loadCalibrationTexts(options);
  const { windows } = options;
  await prepareNodeRuntime();
  return nameTextFiles(options, () =>
    withWorkers(options.workers, model, (workers) =>
      measureSpectra({ model, texts, windows, runtime: { ...runtimeOf(options), workers }, onEvent, signal }),
    ),
  );
}

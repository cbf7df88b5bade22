import { basename, extname } from 'node:path';
import type { GgufDtype, OnnxSettings } from '@kvlr/checkpoint';
import { writeGguf, writeOnnxDirectory } from '@kvlr/checkpoint/node';
import { KvlrError } from '@kvlr/core';
import { type Command, Option } from 'commander';
import { type OpenedModel, withModel } from '../inputs/models.ts';
import { modelArgument, modelArgumentHelp } from '../options/options.ts';
import type { CommandContext } from '../terminal/terminal.ts';

interface ExportOptions {
  gguf?: string;
  onnx?: string;
  dtype: GgufDtype;
  overwrite?: boolean;
}

const onnxDtypes = ['F32', 'F16', 'Q4_0'] as const satisfies OnnxSettings['dtype'][];

const afterHelp = `
The ONNX directory has the layout that transformers.js loads: config and tokenizer, and the graph in onnx/.

Examples:
  kvlr export --gguf reference.gguf
  kvlr export ./small --gguf small.gguf --dtype Q8_0
  kvlr export ./small --onnx ./small-onnx --dtype F16
  kvlr export ./small --onnx ./small-q4 --dtype Q4_0        a quarter of the bytes, for browsers`;

export function define(command: Command, context: CommandContext): void {
  command
    .argument(modelArgument, modelArgumentHelp)
    .option('--gguf <file>', 'a GGUF file for llama.cpp')
    .option('--onnx <dir>', 'an ONNX directory for transformers.js and ONNX Runtime')
    .addOption(
      new Option(
        '--dtype <type>',
        'element type of the matrices; ONNX: F32 or F16, of the KV cache too, or Q4_0, 4 bits beside an F32 cache',
      )
        .choices(['F32', 'F16', 'BF16', 'Q8_0', 'Q4_0'] satisfies GgufDtype[])
        .default('F32'),
    )
    .option('--overwrite', 'replace what is there, once the new one is complete')
    .addHelpText('after', afterHelp)
    .action(async (path: string | undefined, options: ExportOptions) => {
      const write = chooseFormat(options, context);
      const { written, summary } = await withModel(path, context, write);
      context.print(`Wrote ${written} (${options.dtype}).`);
      context.printJson({ ...summary, dtype: options.dtype });
    });
}

type Write = (model: OpenedModel) => Promise<{ written: string; summary: Record<string, string> }>;

/** What to do, before a model is opened. Throws 'usage' for options that do not go together. */
function chooseFormat({ gguf, onnx, dtype, overwrite }: ExportOptions, context: CommandContext): Write {
  const settings = { overwrite, onEvent: context.onEvent, signal: context.signal };
  if (gguf !== undefined && onnx === undefined) {
    return async ({ checkpoint }) => {
      await writeGguf(gguf, checkpoint, checkpoint, { ...settings, name: basename(gguf, extname(gguf)), dtype });
      return { written: gguf, summary: { gguf } };
    };
  }
  if (onnx !== undefined && gguf === undefined) {
    const onnxDtype = onnxDtypes.find((known) => known === dtype);
    if (onnxDtype === undefined) {
      const known = onnxDtypes.join(', ');
      throw usageError(`expected --dtype ${known} with --onnx, got ${dtype}`, `Take one of ${known}.`);
    }
    return async ({ checkpoint }) => {
      await writeOnnxDirectory(onnx, checkpoint, checkpoint, { ...settings, dtype: onnxDtype });
      return { written: onnx, summary: { onnx } };
    };
  }
  throw usageError(
    `expected one of --gguf and --onnx, got ${gguf === undefined ? 'neither' : 'both'}`,
    'Name the file or the directory to write: --gguf FILE for llama.cpp, --onnx DIR for transformers.js.',
  );
}

function usageError(message: string, hint: string): KvlrError {
  return new KvlrError('usage', { message, hint });
}

import { readdir, stat } from 'node:fs/promises';
import { basename, extname, isAbsolute, join } from 'node:path';
import type { GgufDtype, HuggingFaceCheckpoint, OnnxSettings } from '@kvlr/checkpoint';
import { writeGguf, writeOnnxDirectory } from '@kvlr/checkpoint/node';
import { KvlrError } from '@kvlr/core';
import { attentionDtype } from '@kvlr/pipeline';
import { formatBytes } from '@kvlr/report';
import { type Command, Option } from 'commander';
import { type OpenedModel, withModel } from '../inputs/models.ts';
import { modelArgument, modelArgumentHelp } from '../options/options.ts';
import type { CommandContext } from '../terminal/terminal.ts';

interface ExportOptions {
  gguf?: string;
  onnx?: string;
  dtype?: GgufDtype;
  overwrite?: boolean;
}

const ggufDtypes: readonly GgufDtype[] = ['F32', 'F16', 'BF16', 'Q8_0', 'Q4_0'];
const onnxDtypes = ['F32', 'F16', 'Q4_0'] as const satisfies OnnxSettings['dtype'][];

const afterHelp = `
The ONNX directory has the layout that transformers.js loads: config and tokenizer, and the graph in onnx/.

Examples:
  kvlr export --gguf reference.gguf                         in the types of the model
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
        'element type of the matrices (default: GGUF: that of the model; ONNX: F32); ONNX: F32 or F16, of the KV cache too, or Q4_0, 4 bits beside an F32 cache',
      ).choices(ggufDtypes),
    )
    .option('--overwrite', 'replace what is there, once the new one is complete')
    .addHelpText('after', afterHelp)
    .action(async (path: string | undefined, options: ExportOptions) => {
      const write = chooseFormat(options, context);
      const { written, dtype, summary, next } = await withModel(path, context, write);
      const bytes = await bytesOf(written);
      context.print(`Wrote ${written}: ${dtype}, ${formatBytes(bytes)}.`);
      context.print(`Next:  ${next}`);
      context.printJson({ ...summary, dtype, bytes });
    });
}

interface Written {
  written: string;
  dtype: GgufDtype;
  summary: Record<string, string>;
  /** What to do with it. */
  next: string;
}

type Write = (model: OpenedModel) => Promise<Written>;

/** What to do, before a model is opened. Throws 'usage' for options that do not go together. */
function chooseFormat({ gguf, onnx, dtype, overwrite }: ExportOptions, context: CommandContext): Write {
  const settings = { overwrite, onEvent: context.onEvent, signal: context.signal };
  if (gguf !== undefined && onnx === undefined) {
    return async ({ checkpoint }) => {
      const taken = dtype ?? dtypeOf(checkpoint);
      await writeGguf(gguf, checkpoint, checkpoint, { ...settings, name: basename(gguf, extname(gguf)), dtype: taken });
      return { written: gguf, dtype: taken, summary: { gguf }, next: `llama-server -m ${gguf}, of llama.cpp` };
    };
  }
  if (onnx !== undefined && gguf === undefined) {
    const onnxDtype = onnxDtypes.find((known) => known === (dtype ?? 'F32'));
    if (onnxDtype === undefined) {
      const known = onnxDtypes.join(', ');
      throw usageError(`expected --dtype ${known} with --onnx, got ${dtype}`, `Take one of ${known}.`);
    }
    return async ({ checkpoint }) => {
      await writeOnnxDirectory(onnx, checkpoint, checkpoint, { ...settings, dtype: onnxDtype });
      // A relative path without ./ would be the id of a repository.
      const path = isAbsolute(onnx) || onnx.startsWith('.') ? onnx : `./${onnx}`;
      const next = `pipeline('text-generation', '${path}', { dtype: '${transformersJsNames[onnxDtype]}' }), of transformers.js`;
      return { written: onnx, dtype: onnxDtype, summary: { onnx }, next };
    };
  }
  throw usageError(
    `expected one of --gguf and --onnx, got ${gguf === undefined ? 'neither' : 'both'}`,
    'Name the file or the directory to write: --gguf FILE for llama.cpp, --onnx DIR for transformers.js.',
  );
}

/** As the model's file has its matrices, where a GGUF file may be written so; F16 for what is packed otherwise. */
function dtypeOf(checkpoint: HuggingFaceCheckpoint): GgufDtype {
  const dtype = checkpoint.quantisedAs ?? attentionDtype(checkpoint);
  return ggufDtypes.find((known) => known === dtype) ?? (checkpoint.quantisedAs === undefined ? 'F32' : 'F16');
}

const transformersJsNames = { F32: 'fp32', F16: 'fp16', Q4_0: 'q4' } as const;

/** Of a file, or of all files below a directory. */
async function bytesOf(path: string): Promise<number> {
  const entry = await stat(path);
  if (entry.isFile()) return entry.size;
  const sizes = await Promise.all((await readdir(path)).map((name) => bytesOf(join(path, name))));
  return sizes.reduce((sum, size) => sum + size, 0);
}

function usageError(message: string, hint: string): KvlrError {
  return new KvlrError('usage', { message, hint });
}

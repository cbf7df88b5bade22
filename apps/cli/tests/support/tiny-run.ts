import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { formatRecipeYaml, parseRecipe } from '@kvlr/pipeline';
import { tinyCheckpointFiles, tinyRecipe, tinyTexts } from '@kvlr/testkit';
import pc from 'picocolors';
import { expect } from 'vitest';
import { run } from '../../src/run.ts';

export interface CliOutcome {
  exitCode: number;
  /** What went to stdout and to stderr. */
  out: string;
  error: string;
}

/** Runs the program inside this process, as if without a terminal; `input` is piped into it. */
export async function runCli(
  argumentList: readonly string[],
  signal?: AbortSignal,
  input?: string,
): Promise<CliOutcome> {
  const outcome: CliOutcome = { exitCode: 0, out: '', error: '' };
  const plain = (text: string) => text;
  outcome.exitCode = await run(
    argumentList,
    {
      writeOut: (text) => {
        outcome.out += text;
      },
      writeError: (text) => {
        outcome.error += text;
      },
      readInput: async () => input,
      interactive: false,
      columns: 100,
      colors: pc.createColors(false),
      styles: { strong: plain, faint: plain },
    },
    signal,
  );
  return outcome;
}

/** What the program prints with --json; it has to succeed. */
export async function runJson(argumentList: readonly string[]) {
  const outcome = await runCli([...argumentList, '--json']);
  expect(outcome.exitCode, outcome.error).toBe(0);
  return JSON.parse(outcome.out);
}

/** The error that the program prints with --json. */
export async function runToError(argumentList: readonly string[]) {
  return JSON.parse((await runCli([...argumentList, '--json'])).out).error;
}

/** Path of a file in examples/. */
export function examplePath(name: string): string {
  return fileURLToPath(new URL(`../../../../examples/${name}`, import.meta.url));
}

/** Options of a command that runs in this thread alone: threads run the built packages, which workers.test.ts is for. */
const compute = ['--backend', 'cpu', '--workers', '1'];

/** A tiny model, texts and a recipe that it goes through in about a second, as files in a directory of their own. */
export class TinyRun {
  model: string;
  readonly calibration: string;
  readonly evaluation: string;
  readonly recipe: string;

  protected constructor(readonly directory: string) {
    this.model = this.path('model');
    this.calibration = this.path('inputs', 'calibration.txt');
    this.evaluation = this.path('inputs', 'evaluation.txt');
    this.recipe = this.path('inputs', 'tiny-recipe.yaml');
  }

  /** The caller removes it. */
  static async create(settings: Parameters<typeof tinyCheckpointFiles>[0] = {}): Promise<TinyRun> {
    const tiny = new TinyRun(await mkdtemp(join(tmpdir(), 'kvlr-cli-')));
    await tiny.writeFiles(settings);
    return tiny;
  }

  protected async writeFiles(settings: Parameters<typeof tinyCheckpointFiles>[0] = {}): Promise<void> {
    const files = {
      ...Object.fromEntries(
        Object.entries(await tinyCheckpointFiles(settings)).map(([name, content]) => [join(this.model, name), content]),
      ),
      [this.calibration]: tinyTexts.calibration[0]!.text,
      [this.evaluation]: tinyTexts.evaluation[0]!.text,
      [this.recipe]: formatRecipeYaml(parseRecipe(tinyRecipe)),
    };
    for (const [path, content] of Object.entries(files)) {
      await mkdir(dirname(path), { recursive: true });
      await writeFile(path, content);
    }
  }

  path(...names: string[]): string {
    return join(this.directory, ...names);
  }

  get texts(): string[] {
    return ['--calibration', this.calibration, '--eval-text', this.evaluation];
  }

  /** A command line that compresses into a directory beside the model. */
  compress(output: string, ...more: string[]): string[] {
    const inputs = ['--recipe', this.recipe, ...this.texts, ...compute];
    return ['compress', this.model, '-o', this.path(output), ...inputs, ...more];
  }

  /** A command line that compares at half of the KV heads. */
  compare(output: string, ...more: string[]): string[] {
    const inputs = ['--recipe', this.recipe, ...this.texts, ...compute, '--ratios', '1/2'];
    return ['compare', this.model, '-o', this.path(output), ...inputs, ...more];
  }

  /** A command line that evaluates a checkpoint on what the tiny recipe evaluates on. */
  evaluate(checkpoint: string, ...more: string[]): string[] {
    const windows = ['--eval-text', this.evaluation, '--windows', '2', '--window-length', '33'];
    return ['eval', checkpoint, ...windows, ...compute, ...more];
  }

  remove(): Promise<void> {
    return rm(this.directory, { recursive: true });
  }
}

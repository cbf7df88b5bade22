import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import { type CliOutcome, runCli } from './run-cli.ts';
import { writeTinyCheckpoint, writeTinyInputs } from './tiny-files.ts';

/** A tiny model, its texts and the place of its result, in a directory of its own: each test makes one and spoils it. */
export class SpoilableRun {
  readonly directory: string;
  model: string;
  readonly output: string;
  readonly inputs: Awaited<ReturnType<typeof writeTinyInputs>>;

  private constructor(directory: string, model: string, inputs: SpoilableRun['inputs']) {
    this.directory = directory;
    this.model = model;
    this.output = join(directory, 'results', 'out');
    this.inputs = inputs;
  }

  static async create(): Promise<SpoilableRun> {
    const directory = await mkdtemp(join(tmpdir(), 'kvlr-bad-'));
    const model = join(directory, 'model');
    await writeTinyCheckpoint(model);
    return new SpoilableRun(directory, model, await writeTinyInputs(join(directory, 'inputs')));
  }

  remove(): Promise<void> {
    return rm(this.directory, { recursive: true });
  }

  compress(...more: string[]): Promise<CliOutcome> {
    const { calibration, evaluation, recipe } = this.inputs;
    return runCli([
      ...['compress', this.model, '-o', this.output, '--recipe', recipe, '--backend', 'cpu', '--json'],
      ...['--calibration', calibration, '--eval-text', evaluation, ...more],
    ]);
  }

  /** Compresses, which has to fail with this code, name the file, say how to mend it, and leave no output. */
  async expectFailure(code: string, named: string, more: readonly string[] = [], exitCode = 1): Promise<void> {
    const outcome = await this.compress(...more);
    const { error } = JSON.parse(outcome.out);
    expect(error.code).toBe(code);
    expect(error.message).toContain(named);
    expect(error.hint).toMatch(/\w+ \w+/);
    expect(outcome.error).toContain(error.hint);
    expect(outcome.exitCode).toBe(exitCode);
    const left = await readdir(join(this.directory, 'results')).catch(() => []);
    expect(left.filter((name) => name !== 'out.run')).toEqual([]);
  }

  /** Changes a JSON file of the model. */
  async editJson(name: string, edit: (content: Record<string, unknown>) => void): Promise<void> {
    const path = join(this.model, name);
    const content = JSON.parse(await readFile(path, 'utf8'));
    edit(content);
    await writeFile(path, JSON.stringify(content));
  }
}

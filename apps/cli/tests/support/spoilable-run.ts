import { mkdtemp, readdir, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import { type CliOutcome, runCli, TinyRun } from './tiny-run.ts';

/** A tiny run that a test makes for itself and spoils. Its result goes to a directory of its own. */
export class SpoilableRun extends TinyRun {
  readonly output = this.path('results', 'out');

  static override async create(): Promise<SpoilableRun> {
    const spoilable = new SpoilableRun(await mkdtemp(join(tmpdir(), 'kvlr-bad-')));
    await spoilable.writeFiles();
    return spoilable;
  }

  run(...more: string[]): Promise<CliOutcome> {
    return runCli(this.compress(join('results', 'out'), '--json', ...more));
  }

  /** Compresses, which has to fail with this code, name the file, say how to go on, and leave no output. */
  async expectFailure(code: string, named: string, more: readonly string[] = [], exitCode = 1): Promise<void> {
    const outcome = await this.run(...more);
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

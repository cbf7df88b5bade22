import { spawnSync } from 'node:child_process';
import { Argument, Command, Option } from 'commander';
import { describe, expect, it } from 'vitest';
import { completionScript, type Shell } from './completion.ts';
import { helpColumns } from './terminal.ts';

const program = new Command('kvlr').option('--json', "one document, for machines that don't read");
program
  .command('compress')
  .description('fewer heads: of a model')
  .option('-o, --output <dir>', 'where it goes [a directory]')
  .option('--method <name|file>', 'closed form')
  .addOption(new Option('--recover <preset>', 'repair').choices(['refit', 'light']));
program.command('completion').addArgument(new Argument('<shell>').choices(['bash', 'zsh']));

const script = (shell: Shell) => completionScript(shell, program, { '--method': ['svd-a', 'svd-w'] });

const isMissing = (shell: string) => spawnSync(shell, ['-c', 'true']).error !== undefined;

function inShell(shell: string, commands: string): string {
  const { stdout, stderr } = spawnSync(shell, ['-c', commands], { encoding: 'utf8' });
  return stdout + stderr;
}

describe.skipIf(isMissing('bash'))('completion in bash (skipped without bash)', () => {
  const complete = (line: string) => {
    const words = `COMP_WORDS=(${line}); COMP_CWORD=$((\${#COMP_WORDS[@]} - 1))`;
    return inShell('bash', `${script('bash')}\n${words}\n_kvlr\necho "\${COMPREPLY[*]}"`).trim();
  };

  it.each([
    ['kvlr com', 'compress completion'],
    ['kvlr compress --re', '--recover'],
    ['kvlr compress -', '--output -o --method --recover --json --help -h'],
    ['kvlr compress --recover ""', 'refit light'],
    ['kvlr compress --method svd-', 'svd-a svd-w'],
    ['kvlr completion ""', 'bash zsh'],
    // Left to the shell, which offers files.
    ['kvlr compress ./', ''],
    ['kvlr compress --output ""', ''],
  ])('%s', (line, expected) => {
    expect(complete(line)).toBe(expected);
  });
});

describe.skipIf(isMissing('zsh'))('completion in zsh (skipped without zsh)', () => {
  it('is read without a complaint', () => {
    expect(inShell('zsh', `autoload -U compinit; compinit -D -u; ${script('zsh')}\necho $_comps[kvlr]`).trim()).toBe(
      '_kvlr',
    );
  });
});

describe.skipIf(isMissing('fish'))('completion in fish (skipped without fish)', () => {
  const complete = (line: string) =>
    inShell('fish', `${script('fish')}\ncomplete -C '${line}'`)
      .trim()
      .split('\n');

  it('offers commands, options and values', () => {
    expect(complete('kvlr compr')).toEqual(['compress\tfewer heads: of a model']);
    expect(complete('kvlr compress --re')).toEqual(['--recover\trepair']);
    expect(complete('kvlr compress --method ').map((line) => line.split('\t')[0])).toEqual(['svd-a', 'svd-w']);
  });
});

it.each([
  ['72', 200, 72],
  [undefined, 96, 96],
  [undefined, undefined, 110],
  ['many', undefined, 110],
  [undefined, 300, 140],
  ['10', 80, 40],
])('help with COLUMNS %s on a terminal of %s has lines of %s', (asked, terminal, expected) => {
  expect(helpColumns(asked, terminal)).toBe(expected);
});

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { describe, expect, it } from 'vitest';
// @ts-expect-error: a script, which has no types
import { documents } from '../../../scripts/code-blocks.mjs';
import { recipeNames } from '../src/inputs/recipes.ts';
import { createProgram } from '../src/program.ts';
import { type CommandContext, processTerminal } from '../src/terminal/terminal.ts';

const root = join(import.meta.dirname, '../../..');

interface DocumentedCommand {
  place: string;
  words: string[];
}

/** Lines of code blocks that call kvlr: without what explains them behind three spaces, and without the rest of a shell's line. */
function commandLines(document: string): DocumentedCommand[] {
  const lines = readFileSync(join(root, document), 'utf8').replaceAll('\\\n', ' ').split('\n');
  let fenced = false;
  return lines.flatMap((line, index) => {
    if (line.startsWith('```')) fenced = !fenced;
    const call = (fenced ? /^ *(?:npx )?kvlr (.*)/ : /^ {4,}(?:npx )?kvlr (.*)/).exec(line);
    const text = call?.[1]?.split(/ {3,}| [#|>&;]/)[0];
    return text ? [{ place: `${document}:${index + 1}`, words: shellWords(text) }] : [];
  });
}

/** Calls in the text: `kvlr compress --keep 50%`. What they leave out is not looked at, so that only names of options count. */
function inlineCalls(document: string): DocumentedCommand[] {
  const text = readFileSync(join(root, document), 'utf8').replaceAll(/^```[\s\S]*?^```/gm, '');
  return [...text.matchAll(/`(?:npx )?kvlr ([a-z]+)( [^`]*)?`/g)].map(([call, command, rest = '']) => ({
    place: `${document}: ${call}`,
    words: [command!, ...(rest.match(/(?<= )--?[a-z][a-z-]*/g) ?? [])],
  }));
}

const shellWords = (text: string) =>
  [...text.matchAll(/"([^"]*)"|'([^']*)'|(\S+)/g)].map(([, double, single, plain]) => double ?? single ?? plain ?? '');

/** Parses a command line and runs nothing: what commander says against it, and the program, with the command defined. */
async function parse(words: readonly string[]): Promise<{ complaint?: string; program: Command }> {
  const terminal = { ...processTerminal(), writeOut() {}, writeError() {} };
  const context = {
    terminal,
    architectures: [],
    onEvent() {},
    print() {},
    printJson() {},
  } as unknown as CommandContext;
  const reached = new Error('the command would run now');
  const program = createProgram(terminal, async () => context).hook('preAction', () => {
    throw reached;
  });
  try {
    await program.parseAsync([...words], { from: 'user' });
  } catch (error) {
    const isHelp = (error as { code?: string }).code === 'commander.helpDisplayed';
    return error === reached || isHelp ? { program } : { program, complaint: String(error) };
  }
  return { program, complaint: 'it has no action' };
}

const files: string[] = documents();

describe('documents', () => {
  it('show command lines that parse', async () => {
    const found = files.flatMap(commandLines);
    expect(found.length).toBeGreaterThan(20);
    const complaints = [];
    for (const { place, words } of found) {
      const { complaint } = await parse(words);
      if (complaint) complaints.push(`${place}: kvlr ${words.join(' ')}: ${complaint}`);
    }
    expect(complaints).toEqual([]);
  });

  it('name commands and options that are there', async () => {
    const { program } = await parse(['completion', 'bash']);
    const complaints = files.flatMap(inlineCalls).flatMap(({ place, words: [name, ...options] }) => {
      const command = program.commands.find((one) => one.name() === name);
      if (command === undefined) return [`${place}: no such command`];
      const known = [...command.options, ...program.options].flatMap(({ long, short }) => [long, short]);
      const unknown = options.filter((option) => !known.includes(option) && option !== '--help');
      return unknown.map((option) => `${place}: no option ${option}`);
    });
    expect(complaints).toEqual([]);
  });

  it('name recipes that are there', () => {
    const recipes = recipeNames();
    const named = files.flatMap(commandLines).flatMap(({ place, words }) => {
      const name = words.includes('--recipe') ? words[words.indexOf('--recipe') + 1] : undefined;
      return name && /^[\w-]+$/.test(name) ? [{ place, name }] : [];
    });
    expect(named.length).toBeGreaterThan(0);
    expect(named.filter(({ name }) => !recipes.includes(name))).toEqual([]);
  });
});

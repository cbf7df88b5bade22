/** The entries of a registry for a help text, one a line: name and what it is. */
export function listNames<Entry>(
  registry: Readonly<Record<string, Entry>>,
  describe: (entry: Entry) => string,
): string {
  const names = Object.keys(registry);
  const width = Math.max(...names.map((name) => name.length));
  return names.map((name) => `  ${name.padEnd(width)}  ${describe(registry[name]!)}`).join('\n');
}

/** Names for a help text, as many on a line as fit. */
export function wrapNames(names: readonly string[], width = 110): string {
  const lines: string[] = [];
  for (const name of names) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + name.length + 2 <= width) lines[lines.length - 1] = `${last}, ${name}`;
    else lines.push(`  ${name}`);
  }
  return lines.join(',\n');
}

/** The entries of a registry for a help text, one a line: name and what it is. */
export function listNames<Entry>(
  registry: Readonly<Record<string, Entry>>,
  describe: (entry: Entry) => string,
): string {
  const names = Object.keys(registry);
  const width = Math.max(...names.map((name) => name.length));
  return names.map((name) => `  ${name.padEnd(width)}  ${describe(registry[name]!)}`).join('\n');
}

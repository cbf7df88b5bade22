import { parseArgs } from 'node:util';

/** Reads command-line options of the form --name value; those without a default are text, the others of their default's type. */
export function readOptions(usage, defaults) {
  const options = { help: { type: 'boolean' } };
  for (const [name, value] of Object.entries(defaults))
    options[name] = { type: value === false ? 'boolean' : 'string' };
  const { values } = parseArgs({ options });
  if (values.help) {
    console.log(usage);
    process.exit(0);
  }
  return Object.fromEntries(
    Object.entries(defaults).map(([name, fallback]) => [name, read(name, values[name], fallback)]),
  );
}

function read(name, text, fallback) {
  if (text === undefined || typeof text === 'boolean') return text ?? fallback;
  if (Array.isArray(fallback)) {
    const parts = text.split(',');
    return typeof fallback[0] === 'number' ? parts.map((part) => count(name, part)) : parts;
  }
  return typeof fallback === 'number' ? count(name, text) : text;
}

function count(name, text) {
  const value = Number(text);
  if (!(Number.isInteger(value) && value >= 1))
    throw new Error(`--${name}: expected a whole number from 1, got ${text}`);
  return value;
}

import { constants } from 'node:fs';
import { lstat, open, readdir, readFile, readlink, realpath, rename, rm } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, relative, resolve, sep } from 'node:path';
import { KvlrError } from '@kvlr/core';
import { ggufMark } from '../gguf/export.ts';
import { holdPlace } from './lock.ts';

/**
 * The one guard of everything that is written: a place is claimed before the work begins, held while it lasts, and asked about again
 * before the result is renamed into it. Only what kvlr itself wrote is ever replaced.
 */
export interface PlaceRequest {
  path: string;
  /** What is to lie there. */
  kind: 'directory' | 'file';
  /** Replace what kvlr wrote there before. */
  overwrite?: boolean | undefined;
  /** What the place may neither be, nor hold, nor lie in: sources and run directories, by what people call them. */
  apartFrom?: readonly OtherPlace[] | undefined;
}

interface OtherPlace {
  /** For example 'the model'. */
  name: string;
  /** A path. Addresses, and paths at which nothing is, are apart from everything. */
  path: string;
}

/** A place that is held for one run. */
export interface PlaceClaim {
  /** The real path: links are followed. */
  readonly path: string;
  /** Asks once more whether what is there may be replaced. Throws 'file-exists'. */
  check(): Promise<void>;
  /** Lets the place go. */
  release(): Promise<void>;
}

/**
 * Claims a place, and puts away what a killed run left there.
 *
 * @throws KvlrError 'usage' for places that overlap (through links, too); 'file-exists' for what is there and may not be replaced, or a
 *   link that leads nowhere; 'in-use' while another run writes there.
 */
export async function claimPlace(request: PlaceRequest): Promise<PlaceClaim> {
  const { kind, overwrite = false, apartFrom = [] } = request;
  const path = await realPlace(request.path);
  await requireApart(path, apartFrom);
  const check = () => checkReplaceable(path, kind, overwrite);
  const { release } = await holdPlace(path);
  try {
    await clearLeftovers(path);
    await check();
  } catch (error) {
    await release();
    throw error;
  }
  return { path, check, release };
}

/**
 * Holds a directory whose files a run replaces one by one. Who holds it checks what lies there.
 *
 * @throws KvlrError 'usage', 'in-use', 'file-exists' for a link that leads nowhere.
 */
export async function holdDirectory(
  directory: string,
  apartFrom: readonly OtherPlace[] = [],
): Promise<Pick<PlaceClaim, 'path' | 'release'>> {
  const path = await realPlace(directory);
  await requireApart(path, apartFrom);
  return { path, ...(await holdPlace(path)) };
}

/**
 * The path with every link followed, whatever of it exists yet.
 *
 * @throws KvlrError 'file-exists' for a link on the way that leads nowhere.
 */
async function realPlace(path: string): Promise<string> {
  const target = resolve(path);
  const rest: string[] = [];
  let existing = target;
  for (;;) {
    const real = await realpath(existing).catch(() => undefined);
    if (real !== undefined) return join(real, ...rest);
    const found = await lstat(existing).catch(() => undefined);
    if (found?.isSymbolicLink()) {
      const leadsTo = await readlink(existing).catch(() => 'an unknown place');
      throw refused(existing, `a link to ${leadsTo}, where nothing is`, 'Remove the link, or make what it leads to.');
    }
    if (dirname(existing) === existing) return target;
    rest.unshift(basename(existing));
    existing = dirname(existing);
  }
}

/** Throws 'usage' where one of the places is, holds or lies in the other. */
async function requireApart(path: string, others: readonly OtherPlace[]): Promise<void> {
  for (const other of others) {
    if (/^[a-z]+:\/\//i.test(other.path)) continue;
    const place = await realPlace(other.path).catch(() => undefined);
    if (place === undefined || !(isInside(path, place) || isInside(place, path))) continue;
    throw new KvlrError('usage', {
      message: `expected an output apart from ${other.name}, got ${path} and ${place}`,
      hint: 'Choose another place for the output.',
      where: { argument: 'output' },
      data: { output: path, path: place },
    });
  }
}

/** True when `path` is `directory` or lies below it. */
function isInside(path: string, directory: string): boolean {
  const way = relative(directory, path);
  return way === '' || !(way === '..' || way.startsWith(`..${sep}`) || isAbsolute(way));
}

/** The file that says of a directory that kvlr wrote it: what it is, and the names of all files in it. */
export const markerName = '.kvlr';

/** A result is replaced as a whole, and only where it holds nothing besides `files`. A run is gone on with, never replaced. */
export interface DirectoryMarker {
  kind: 'result' | 'run';
  files: readonly string[];
}

export function encodeMarker({ kind, files }: DirectoryMarker): Uint8Array {
  return new TextEncoder().encode(`${JSON.stringify({ writtenBy: 'kvlr', kind, files }, null, 1)}\n`);
}

/** What the marker in a directory says; undefined where there is none that can be read. */
export async function readMarker(directory: string): Promise<DirectoryMarker | undefined> {
  try {
    const marker = JSON.parse(await readRegularFile(join(directory, markerName)));
    const kind = ['result', 'run'].includes(marker.kind) && marker.writtenBy === 'kvlr' ? marker.kind : undefined;
    return kind && { kind, files: Array.isArray(marker.files) ? marker.files : [] };
  } catch {
    return undefined;
  }
}

async function readRegularFile(path: string): Promise<string> {
  if (!(await lstat(path)).isFile()) throw new Error('no file');
  return readFile(path, 'utf8');
}

/** A line by which a text file says that kvlr wrote it. */
export const markdownMark = '<!-- written by kvlr -->';
/** A first field by which a JSON file says so. */
export const jsonMark = { writtenBy: 'kvlr' } as const;

const fileMarks = [
  markdownMark,
  '"writtenBy": "kvlr"',
  // Between the two: the number of the type of texts, and the length of this one.
  ggufMark.join('\x08\0\0\0\x04\0\0\0\0\0\0\0'),
];
/** The marks stand within so many bytes of the beginning. */
const markedBytes = 1024;

/** True where a file begins as those do that kvlr writes. */
async function isWrittenByKvlr(file: string): Promise<boolean> {
  const handle = await open(file, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(markedBytes), 0, markedBytes, 0);
    const start = buffer.toString('latin1', 0, bytesRead);
    return fileMarks.some((mark) => start.includes(mark));
  } finally {
    await handle.close();
  }
}

async function checkReplaceable(path: string, kind: PlaceRequest['kind'], overwrite: boolean): Promise<void> {
  const found = await lstat(path).catch(() => undefined);
  if (found === undefined) return;
  const foreign = await whatIsForeign(path, kind, found);
  if (foreign !== undefined) {
    throw refused(path, foreign, 'Choose another place for the output: only what kvlr has written is ever replaced.');
  }
  if (overwrite) return;
  throw new KvlrError('file-exists', {
    message: 'expected nothing here, found an earlier result',
    hint: 'Allow overwriting it, or choose another place for the output.',
    where: { file: path },
    data: { file: path, replaceable: true },
  });
}

/** Why what lies there is not to be replaced. */
async function whatIsForeign(
  path: string,
  kind: PlaceRequest['kind'],
  found: { isDirectory(): boolean; isFile(): boolean; isFIFO(): boolean; size: number },
): Promise<string | undefined> {
  if (kind === 'file') {
    if (!found.isFile()) return found.isDirectory() ? 'a directory' : 'a pipe, socket or device';
    return (await isWrittenByKvlr(path)) ? undefined : 'a file that kvlr did not write';
  }
  if (!found.isDirectory()) return 'something that is no directory';
  const names = await namesIn(path);
  if (names.length === 0) return undefined;
  const marker = await readMarker(path);
  if (marker?.kind === 'run') return 'the directory of a run';
  if (marker === undefined) return 'a directory that kvlr did not write';
  const known = new Set([...marker.files, markerName, '.DS_Store', 'Thumbs.db']);
  const others = names.filter((name) => !known.has(name));
  return others.length === 0 ? undefined : `${others[0]}, which kvlr did not write, in an earlier result`;
}

/** All that lies in a directory and is no directory, by its path in it. */
export async function namesIn(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => relative(directory, join(entry.parentPath, entry.name)).split(sep).join('/'));
}

/** The names under which a result is made and its predecessor set aside, beside the place. */
export function siblings(path: string): { partial: string; retired: string } {
  const suffix = crypto.randomUUID().slice(0, 8);
  const sibling = (word: string) => join(dirname(path), `.${basename(path)}.${word}-${suffix}`);
  return { partial: sibling('partial'), retired: sibling('replaced') };
}

/** Takes away what a killed run left beside a place that is held; a predecessor whose successor did not come goes back. */
async function clearLeftovers(path: string): Promise<void> {
  const parent = dirname(path);
  const names = await readdir(parent).catch(() => []);
  const leftovers = (word: string) => {
    const start = `.${basename(path)}.${word}-`;
    const own = names.filter((name) => name.startsWith(start) && /^[0-9a-f]{8}$/.test(name.slice(start.length)));
    return own.map((name) => join(parent, name));
  };
  for (const retired of leftovers('replaced')) {
    const isTaken = await lstat(path).then(
      () => true,
      () => false,
    );
    if (isTaken) await rm(retired, { recursive: true, force: true });
    else await rename(retired, path);
  }
  for (const partial of leftovers('partial')) await rm(partial, { recursive: true, force: true });
}

function refused(file: string, found: string, hint: string): KvlrError {
  return new KvlrError('file-exists', {
    message: `expected nothing here, found ${found}`,
    hint,
    where: { file },
    data: { file, replaceable: false },
  });
}

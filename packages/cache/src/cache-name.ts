import { didYouMean, type ExactTokens, KvlrError } from '@kvlr/core';

/** A cache as people write it: `channel-2+window=32+first=4`, `q8_0:q5_1`, `f16+policy=snapkv+keep=25%`. */
export interface CacheName extends ExactTokens {
  /** Names of codecs, or paths of modules, for keys and for values. */
  keys: string;
  values: string;
  /** Name of a policy, or path of a module, that decides which tokens stay. */
  policy?: string | undefined;
  /** Share of the tokens that the policy lets stay, above 0 and at most 1. */
  keep?: number | undefined;
}

const settings = ['window', 'first', 'policy', 'keep'] as const;

/**
 * Reads a cache's name: a codec, or one for keys and one for values with ':' between, then settings behind '+'. Whether the codecs
 * exist is not asked here.
 *
 * @throws KvlrError 'usage' for a name that cannot be read.
 */
export function parseCacheName(text: string): CacheName {
  if (typeof text !== 'string') throw unreadable(String(text), 'the name of a cache as a text', typeof text, 'cache');
  const [codecs = '', ...rest] = text.split('+');
  const [keys, values] = splitSides(codecs, text);
  const result: CacheName = { keys, values, window: 0, first: 0 };
  for (const part of rest) {
    const [name, value = ''] = part.split(/=(.*)/s);
    switch (name) {
      case 'window':
      case 'first':
        result[name] = parseTokens(name, value, text);
        break;
      case 'policy':
        if (value === '') throw unreadable(text, 'a policy', 'none', 'policy');
        result.policy = value;
        break;
      case 'keep':
        result.keep = parseShare(value, text);
        break;
      default:
        throw new KvlrError('usage', {
          message: `expected settings of a cache: one of ${settings.join(', ')}, got ${JSON.stringify(part)} in ${text}`,
          hint: `${didYouMean(name ?? '', settings)}Write them behind the codec: channel-2+window=32+first=4.`,
          data: { cache: text, setting: part },
        });
    }
  }
  if ((result.policy === undefined) !== (result.keep === undefined)) {
    throw unreadable(
      text,
      'a policy and the share of tokens that it keeps',
      result.policy === undefined ? 'the share alone' : 'the policy alone',
      'policy',
    );
  }
  return result;
}

/** The name that `parseCacheName` reads as the same cache. */
export function formatCacheName({ keys, values, window, first, policy, keep }: CacheName): string {
  return [
    keys === values ? keys : `${keys}:${values}`,
    ...(window > 0 ? [`window=${window}`] : []),
    ...(first > 0 ? [`first=${first}`] : []),
    ...(policy === undefined ? [] : [`policy=${policy}`]),
    ...(keep === undefined ? [] : [`keep=${Number((100 * keep).toPrecision(10))}%`]),
  ].join('+');
}

function splitSides(codecs: string, text: string): [keys: string, values: string] {
  // The colon behind the letter of a Windows drive is not one between keys and values.
  const parts = codecs.split(/(?<!(?:^|:)[A-Za-z]):/);
  const [keys, values = keys, ...more] = parts;
  if (!keys || !values || more.length > 0) {
    throw unreadable(
      text,
      'a codec, or one for keys and one for values such as q8_0:q5_1',
      JSON.stringify(codecs),
      'codec',
    );
  }
  return [keys, values];
}

function parseTokens(name: string, value: string, text: string): number {
  if (!/^\d{1,9}$/.test(value)) throw unreadable(text, `a number of tokens for ${name}`, JSON.stringify(value), name);
  return Number(value);
}

function parseShare(value: string, text: string): number {
  const share = value.endsWith('%') ? Number(value.slice(0, -1)) / 100 : Number(value);
  if (value !== '' && share > 0 && share <= 1) return share;
  throw unreadable(text, 'a share of the tokens such as 25%', JSON.stringify(value), 'keep');
}

function unreadable(text: string, expected: string, received: string, argument: string): KvlrError {
  return new KvlrError('usage', {
    message: `expected ${expected}, got ${received} in the cache ${JSON.stringify(text)}`,
    hint: 'Write a codec and what is to stay exact: channel-2+window=32+first=4.',
    where: { argument },
    data: { cache: text, expected, received },
  });
}

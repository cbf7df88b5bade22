import type { CheckpointFiles } from '@kvlr/checkpoint';
import { parse } from 'yaml';

/** A model card begins with its metadata, in YAML between two lines of dashes. */
const frontMatter = /^---\r?\n([\s\S]*?)\r?\n---(\r?\n|$)/;

/**
 * The licence that a checkpoint's model card (README.md) states in its metadata, as on Hugging Face: `license_name` where
 * `license` is 'other'. Undefined without a card, or when the card states none.
 */
export async function readLicence(files: CheckpointFiles): Promise<string | undefined> {
  if (!(await files.list()).includes('README.md')) return undefined;
  const metadata = parseMetadata(new TextDecoder().decode(await files.read('README.md')));
  const { license, license_name: licenseName } = metadata;
  const stated = license === 'other' ? licenseName : license;
  return typeof stated === 'string' && stated !== '' && stated !== 'unknown' ? stated : undefined;
}

function parseMetadata(card: string): Record<string, unknown> {
  const text = frontMatter.exec(card)?.[1];
  if (text === undefined) return {};
  try {
    const metadata: unknown = parse(text);
    return typeof metadata === 'object' && metadata !== null ? { ...metadata } : {};
  } catch {
    // Other people's cards are not always YAML; such a card states nothing.
    return {};
  }
}

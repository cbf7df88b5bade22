import type { EventListener } from '@kvlr/core';
import type { ArchitectureDescriptor } from '../architectures/architecture.ts';
import type { SafetensorsSource } from '../safetensors/read.ts';
import { tensorLayout } from './stored-tensors.ts';

interface Wrapper {
  rename(name: string): string;
  /** What is done, in words. */
  message: string;
}

/**
 * The tensors under the names of their family, where files name them as a wrapper of the model did (torch.compile's '_orig_mod.',
 * 'module.' of data-parallel training, 'language_model.' of models that see, too), or as the model without its head does. Told as a note.
 */
export function unwrapNames(
  stored: SafetensorsSource,
  architecture: ArchitectureDescriptor,
  onEvent?: EventListener,
): SafetensorsSource {
  const { tensorName } = tensorLayout(architecture, false, (name) => stored.has(name));
  const [embedding, head] = [tensorName('embedding'), tensorName('languageModelHead')];
  if (stored.has(embedding)) return stored;
  const names = stored.list().map(({ name }) => name);
  const wrapper = prefixed(names, embedding) ?? seeing(names, embedding) ?? headless(names, embedding, head);
  if (wrapper === undefined) return stored;
  onEvent?.({ type: 'note', message: wrapper.message });
  return stored.renamed(wrapper.rename);
}

function prefixed(names: readonly string[], embedding: string): Wrapper | undefined {
  const [found, ...more] = names.filter((name) => name.endsWith(`.${embedding}`));
  if (found === undefined || more.length > 0) return undefined;
  const prefix = found.slice(0, -embedding.length);
  return {
    rename: (name) => (name.startsWith(prefix) ? name.slice(prefix.length) : name),
    message: `Names of tensors begin with ${prefix} in these files, which is left out.`,
  };
}

function seeing(names: readonly string[], embedding: string): Wrapper | undefined {
  const [inner, outer] = ['model.', 'model.language_model.'];
  if (!embedding.startsWith(inner) || !names.includes(outer + embedding.slice(inner.length))) return undefined;
  return {
    rename: (name) => (name.startsWith(outer) ? inner + name.slice(outer.length) : name),
    message: `Names of tensors begin with ${outer} in these files, of which ${inner} is left.`,
  };
}

function headless(names: readonly string[], embedding: string, head: string): Wrapper | undefined {
  const prefix = embedding.slice(0, embedding.indexOf('.') + 1);
  if (!names.includes(embedding.slice(prefix.length))) return undefined;
  return {
    rename: (name) => (name === head ? name : prefix + name),
    message: `Names of tensors lack ${prefix} in these files, which is added.`,
  };
}

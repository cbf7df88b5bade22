import { countElements } from './count-elements.ts';
import type { ModelSource } from './model-source.ts';

/** How many numbers the tensors of a model hold; tied embeddings count once. */
export function countParameters({ tensors }: Pick<ModelSource, 'tensors'>): number {
  return tensors.list().reduce((sum, { shape }) => sum + countElements(shape), 0);
}

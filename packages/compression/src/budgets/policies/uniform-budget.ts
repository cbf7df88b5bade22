import type { BudgetPolicy } from '@kvlr/core';

/** The same in every layer. */
export const uniformBudget: BudgetPolicy = ({ shape, uniform }) =>
  Array.from({ length: shape.numLayers }, () => ({ ...uniform }));

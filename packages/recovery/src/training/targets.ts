import { KvlrError, type TensorRole } from '@kvlr/core';
import type { Projection } from '@kvlr/runtime';

/** The projections that can be trained, by the names that LLaMA's modules and the configurations of peft give them. */
const projectionOfTarget = {
  q_proj: 'query',
  k_proj: 'key',
  v_proj: 'value',
  o_proj: 'output',
  gate_proj: 'gate',
  up_proj: 'up',
  down_proj: 'down',
} as const satisfies Record<string, Projection>;

/** A projection to be trained, in every family by its name in LLaMA. */
export type TrainingTarget = keyof typeof projectionOfTarget;

export const trainingTargets = Object.keys(projectionOfTarget) as readonly TrainingTarget[];

/** The projections of attention: what compression changes. */
export const attentionTargets = ['q_proj', 'k_proj', 'v_proj', 'o_proj'] as const satisfies readonly TrainingTarget[];

/** What the runtime calls a target. */
export function projectionOf(target: TrainingTarget): Projection {
  return projectionOfTarget[target];
}

/** The role of a target's matrix. */
export function weightRole(target: TrainingTarget): TensorRole {
  return `${projectionOfTarget[target]}Weight`;
}

/** Throws 'invalid-argument' for names that are none, for none at all, and for one that is named twice. */
export function checkTargets(targets: readonly string[]): void {
  const known: readonly string[] = trainingTargets;
  const isSet = targets.length > 0 && new Set(targets).size === targets.length;
  if (isSet && targets.every((target) => known.includes(target))) return;
  throw new KvlrError('invalid-argument', {
    message: `expected different ones of ${known.join(', ')}, got ${targets.join(', ') || 'none'}`,
    where: { argument: 'targets' },
    data: { expected: known, received: targets },
  });
}

import type { DeviceTraits } from '../webgpu/device-traits.ts';
import type { GpuProgram, GpuUniform, GpuWrite } from '../webgpu/program.ts';
import { type FewTokensPlan, planFewTokens, rowsOfGroup } from './few-tokens-plan.ts';
import { fewTokensShader } from './few-tokens-shader.ts';
import type { ProjectionAttributes, ProjectionInputs } from './projection-host.ts';
import { projectionParts, projectionReads, projectionShape } from './projection-shader.ts';
import type { RowSource } from './row-source.ts';

export interface FewTokensRequest {
  inputs: ProjectionInputs;
  attributes: ProjectionAttributes;
  shard: number;
  tokens: number;
  traits: DeviceTraits;
  /** In place of `inputs.x`. */
  source?: RowSource;
}

/** The plan of a shard. */
export function fewTokensPlan({ inputs, attributes, shard, tokens, traits, source }: FewTokensRequest): FewTokensPlan {
  const { format, columns } = attributes;
  const matrices = inputs.pairedWords.length > 0 ? 2 : 1;
  const { rows } = attributes.shards[shard]!;
  return planFewTokens({ format, rows, columns, tokens, matrices, taken: source?.numbers }, traits);
}

/** What becomes of the results. */
export type FewTokensResult =
  /** All are written, float32 [tokens, rows]. */
  | { kind: 'rows'; result: GpuWrite }
  /** Each workgroup writes the greatest of its rows alone: to int32 [tokens, allGroups, 2], its order and its row. */
  | { kind: 'greatest'; result: GpuWrite; firstGroup: number; allGroups: number };

/**
 * Decoding: every word that is read of the matrix serves up to sixteen tokens. A workgroup brings x, times the weight of the norm, into its
 * memory, in the order in which pieces of the matrix need it, and takes the sums of squares on the way. A team of neighbouring invocations
 * shares some rows, and keeps a sum for each of them and each token.
 */
export function fewTokensProgram(request: FewTokensRequest, target: FewTokensResult): GpuProgram {
  const { inputs, attributes, shard, tokens, source } = request;
  const plan = fewTokensPlan(request);
  const hasNorm = inputs.normWeight !== undefined;
  const uniforms: GpuUniform[] = [
    ...(source?.uniforms ?? []),
    ...(hasNorm ? [{ name: 'epsilon', type: 'f32' as const, value: attributes.epsilon }] : []),
  ];
  const { rows } = attributes.shards[shard]!;
  return {
    name: source || target.kind === 'greatest' ? `project_few_${source ? 'joined' : 'greatest'}` : 'project_few',
    shape: [
      ...projectionShape(inputs, attributes, shard),
      ...[tokens, plan.tokens, plan.pieceWords, plan.lanes, plan.teams, plan.rowsOfTeam],
      ...[plan.heldPieces, plan.loadsAhead, plan.subgroups],
      ...(source?.shape ?? []),
      ...(target.kind === 'greatest' ? [target.firstGroup, target.allGroups] : []),
    ],
    reads: projectionReads(inputs, attributes, shard, { source, pieceWords: plan.pieceWords }),
    writes: [target.result],
    uniforms,
    workgroups: [Math.ceil(rows / rowsOfGroup(plan)), plan.tokenGroups],
    source: () => {
      const parts = projectionParts(inputs, attributes, shard, { source, pieceWords: plan.pieceWords });
      const greatest = target.kind === 'greatest' && target;
      return {
        constants: { ...parts.constants, ...source?.constants },
        code: fewTokensShader({ ...parts, plan, allTokens: tokens, hasNorm, prepares: source !== undefined, greatest }),
        enables: plan.subgroups ? ['subgroups'] : [],
      };
    },
  };
}

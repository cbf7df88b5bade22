import { graphFile } from '@kvlr/checkpoint/onnx';
import { KvlrError, type TapName, type TensorRole } from '@kvlr/core';
import type { InferenceSession, Tensor } from 'onnxruntime-node';
import { type DecoderGraph, streamInput } from './graphs/decoder-graphs.ts';
import type { OnnxRuntimeModule } from './onnx-runtime.ts';

/** Values of a graph by their names: weights by their roles, tables of positions, a stream. */
export type Tensors = Record<string, Tensor>;

/** A graph that ONNX Runtime has made ready to run. */
export class GraphSession {
  private constructor(
    private readonly session: InferenceSession,
    private readonly names: Pick<DecoderGraph, 'result' | 'taps'>,
  ) {}

  /** @param threads Threads of one operation; one a processor core where none are given. */
  static async open(
    runtime: OnnxRuntimeModule,
    { graph, result, taps }: DecoderGraph,
    threads: number | undefined,
  ): Promise<GraphSession> {
    const file = graphFile('window.onnx', graph);
    const bytes = new Uint8Array(file.byteLength);
    let position = 0;
    await file.write({
      write: async (piece) => {
        bytes.set(piece, position);
        position += piece.length;
      },
    });
    // Only errors: warnings speak of how the graph was written.
    const options = { logSeverityLevel: 3, ...(threads !== undefined && { intraOpNumThreads: threads }) } as const;
    return new GraphSession(await runtime.InferenceSession.create(bytes, options), { result, taps });
  }

  /** Runs the graph: its result, and the taps that are asked for. Throws 'device-error'. */
  async run(
    inputs: Tensors,
    taps: readonly (TapName | TensorRole)[] = [],
  ): Promise<{ result: Tensor; tapped: Tensor[] }> {
    const { result, taps: names } = this.names;
    const wanted = taps.map((tap) => names[tap]!);
    const fetched = [...new Set([result, ...wanted])].filter((name) => name !== streamInput);
    try {
      const outputs: Tensors = { ...(await this.session.run(inputs, fetched)), [streamInput]: inputs[streamInput]! };
      return { result: outputs[result]!, tapped: wanted.map((name) => outputs[name]!) };
    } catch (error) {
      throw new KvlrError('device-error', {
        message: `expected ONNX Runtime to run a window, got: ${error instanceof Error ? error.message : error}`,
        cause: error,
      });
    }
  }

  release(): void {
    void this.session.release();
  }
}

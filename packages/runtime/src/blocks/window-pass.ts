import { KvlrError } from '@kvlr/core';
import { type PassValues, RepeatedPass, type RepeatedPassSettings } from '@kvlr/kernels';
import { getBackend, tensor, tidy } from '@tensorflow/tfjs-core';

/** What a pass is given and what it computes. */
export interface WindowPassSettings extends RepeatedPassSettings {
  /** The run from which on it is recorded, on WebGPU: 0 where many are sure to follow (default), 1 where a second one may. */
  recordFrom?: number;
}

/**
 * The same computation for window after window of one length, from numbers of the host to numbers of the host. On WebGPU it is recorded,
 * which spares the host most of the time; elsewhere operations run one after another. The numbers are the same.
 */
export class WindowPass {
  private recorded: RepeatedPass | undefined;
  private isRefused = false;
  private runs = 0;

  constructor(private readonly settings: WindowPassSettings) {}

  /** Results in the order of the body's. Throws as the operations do. */
  async run(...values: PassValues): Promise<Float32Array[]> {
    const recorded = this.recording();
    this.runs += 1;
    if (recorded !== undefined) return recorded.run(values);
    const { inputs, body } = this.settings;
    const results = tidy(() =>
      body(
        ...values.map((given, place) => {
          const { shape, dtype } = inputs[place]!;
          return 'dataId' in given ? given : tensor(given, shape, dtype);
        }),
      ),
    );
    try {
      return await Promise.all(results.map((result) => result.data<'float32'>()));
    } finally {
      for (const result of results) result.dispose();
    }
  }

  dispose(): void {
    this.recorded?.dispose();
    this.recorded = undefined;
    this.isRefused = true;
  }

  private recording(): RepeatedPass | undefined {
    const { recordFrom = 0, ...settings } = this.settings;
    if (this.recorded !== undefined || this.isRefused) return this.recorded;
    if (getBackend() !== 'webgpu' || this.runs < recordFrom) return undefined;
    try {
      this.recorded = new RepeatedPass(settings);
    } catch (error) {
      if (!KvlrError.isInstance(error) || error.code !== 'unsupported-feature') throw error;
      this.isRefused = true;
    }
    return this.recorded;
  }
}

/** Passes of windows of any length: that of the latest length is kept. */
export class PassesByLength {
  private latest: { tokens: number; pass: WindowPass } | undefined;

  constructor(private readonly settingsOf: (tokens: number) => WindowPassSettings) {}

  of(tokens: number): WindowPass {
    if (this.latest?.tokens !== tokens) {
      this.dispose();
      this.latest = { tokens, pass: new WindowPass(this.settingsOf(tokens)) };
    }
    return this.latest!.pass;
  }

  dispose(): void {
    this.latest?.pass.dispose();
    this.latest = undefined;
  }
}

/** Shape of an input of a pass. */
export function floats(...shape: number[]): WindowPassSettings['inputs'][number] {
  return { shape, dtype: 'float32' };
}

/** The same of token ids. */
export function ids(...shape: number[]): WindowPassSettings['inputs'][number] {
  return { shape, dtype: 'int32' };
}

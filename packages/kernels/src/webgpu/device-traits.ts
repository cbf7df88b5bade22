import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';

/** What plans of shaders go by. */
export interface DeviceTraits {
  /** Neighbouring invocations of a workgroup that certainly share a subgroup; 0 where the device has no subgroups. */
  subgroup: number;
  /** Workgroups with which every multiprocessor has something to do, and another to wait behind: two for each. */
  workgroups: number;
  /** Bytes of memory that a workgroup may have: 16 KiB everywhere, more on many cards. */
  workgroupBytes: number;
}

/**
 * Two workgroups for each multiprocessor of the largest cards of a vendor (132 on NVIDIA's H100, 96 on AMD's Navi 31, 76 cores on Apple's
 * M2 Ultra, 32 on Intel's Arc); WebGPU does not say how many a card has. Others: as many as the largest.
 */
const workgroupsByVendor: Record<string, number> = {
  nvidia: 264,
  amd: 192,
  apple: 152,
  intel: 64,
  qualcomm: 32,
  arm: 32,
};

/** The traits of a backend's device. */
export function traitsOf({ device }: WebGPUBackend): DeviceTraits {
  const { subgroupMinSize = 0, vendor = '' } = device.adapterInfo ?? {};
  return {
    subgroup: device.features.has('subgroups' as GPUFeatureName) ? subgroupMinSize : 0,
    workgroups: workgroupsByVendor[vendor] ?? 264,
    workgroupBytes: device.limits.maxComputeWorkgroupStorageSize,
  };
}

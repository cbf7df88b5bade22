export {
  claimPlace,
  encodeMarker,
  holdDirectory,
  jsonMark,
  markdownMark,
  markerName,
  type PlaceClaim,
  type PlaceRequest,
  readMarker,
} from './node/claim.ts';
export { downloadHubModel, type HubDownloadSettings } from './node/hub-cache.ts';
export { createDirectoryFiles, type OpenSourceSettings, openCheckpointDirectory, openSource } from './node/open.ts';
export { fillFile, replacePath, requireWritable } from './node/replace.ts';
export { changedFile, type SourceSamples, SourceWatch } from './node/source-watch.ts';
export {
  type WriteCheckpointSettings,
  type WriteGgufSettings,
  type WriteOnnxSettings,
  writeCheckpointDirectory,
  writeGguf,
  writeOnnxDirectory,
} from './node/write.ts';

/** The global navigator, which Node has only from version 21 on. */
export function hostNavigator(): { gpu?: GPU } | undefined {
  return (globalThis as { navigator?: { gpu?: GPU } }).navigator;
}

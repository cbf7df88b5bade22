/** The element that a selector finds, of the class that is expected. A miss is a mistake in index.html. */
export function requireElement<Expected extends Element>(
  root: ParentNode,
  selector: string,
  expected: new () => Expected,
): Expected {
  const found = root.querySelector(selector);
  if (found instanceof expected) return found;
  throw new Error(`requireElement: expected ${expected.name} at ${selector}, got ${found?.tagName ?? 'nothing'}`);
}

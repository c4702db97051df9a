// Elements, made of text only: what a client named itself never becomes markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element; `props` are attributes, `on` listeners, `style` custom properties and lengths; children are nodes or text. */
export function h(tag, props = {}, ...children) {
  return fill(document.createElement(tag), props, children);
}

/** An element of a drawing. */
export function s(tag, props = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), props, children);
}

function fill(element, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "on") for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else if (name === "style") for (const [property, said] of Object.entries(value)) element.style.setProperty(property, said);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Make the children of `parent` those of `items`, in their order; one whose key was there before is updated in place. */
export function keep(parent, items, key, make, update) {
  const known = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  items.forEach((item, number) => {
    const name = String(key(item));
    const child = known.get(name) ?? make(item);
    known.delete(name);
    child.dataset.key = name;
    update(child, item);
    if (parent.children[number] !== child) parent.insertBefore(child, parent.children[number] ?? null);
  });
  for (const child of known.values()) child.remove();
}

/** Set an element's text, and touch the page only where it differs. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

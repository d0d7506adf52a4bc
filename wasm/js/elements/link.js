// <tandem-link page [params]> and a[data-tandem-page]: links within the project that keep the
// session, also while no gateway answers (then they open as soon as one does).

import { TandemElement } from "./base.js";

const CSS = `
:host { display: inline-block; }
a { color: inherit; text-decoration: inherit; display: block; padding: var(--tandem-link-padding, 0); }
`;

export class TandemLink extends TandemElement {
  static observedAttributes = ["page", "params"];

  attach(session) {
    const root = this.build(CSS, `<a part="link"><slot></slot></a>`);
    const params = Object.fromEntries(new URLSearchParams(this.getAttribute("params") ?? ""));
    this.toggleAttribute(
      "current",
      wire(session, root.querySelector("a"), this.getAttribute("page"), params),
    );
  }
}

/** Makes all `a[data-tandem-page]` of the document links of the project. */
export function wireLinks(session) {
  for (const link of document.querySelectorAll("a[data-tandem-page]")) {
    wire(session, link, link.dataset.tandemPage, {});
  }
}

function wire(session, link, page, params) {
  link.href = session.href(page, params);
  const here = page === session.page;
  if (here) link.setAttribute("aria-current", "page");
  else link.removeAttribute("aria-current");
  link.onclick = (event) => {
    if (event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    session.open(page, params);
  };
  return here;
}

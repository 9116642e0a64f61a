import { Image } from "lucide-react";
import ReactMarkdown, { type Components } from "react-markdown";
import rehypeRaw from "rehype-raw";
import rehypeSanitize, { defaultSchema } from "rehype-sanitize";
import remarkGfm from "remark-gfm";

/** What this module needs to know of a parsed document. */
interface Node {
  type: string;
  tagName?: string;
  properties?: Record<string, unknown>;
  children?: Node[];
}

/**
 * Makes each image a link to it: loading it would tell its host who reads the
 * issue. Inside a link, where another cannot be, only its words are left.
 */
function imagesAsLinks() {
  return (tree: Node) => {
    const stack: { node: Node; inLink: boolean }[] = [{ node: tree, inLink: false }];
    for (let top = stack.pop(); top; top = stack.pop()) {
      const { node } = top;
      if (node.tagName === "img") {
        const { src, alt } = node.properties ?? {};
        node.tagName = top.inLink ? "span" : "a";
        node.properties = top.inLink
          ? { className: ["image-link"] }
          : { className: ["image-link"], href: src };
        const words = typeof alt === "string" && alt.trim() !== "" ? alt : "image";
        node.children = [{ type: "text", value: words } as Node];
        continue;
      }
      const inLink = top.inLink || node.tagName === "a";
      for (const child of node.children ?? []) stack.push({ node: child, inLink });
    }
  };
}

// GitHub's own rules, without what stands for several images.
const schema = {
  ...defaultSchema,
  tagNames: (defaultSchema.tagNames ?? []).filter((name) => name !== "source" && name !== "picture"),
};

const components: Components = {
  a: ({ node, children, className, href, ...rest }) => {
    const isImage = className === "image-link";
    const isHere = href?.startsWith("#") ?? true;
    return (
      <a
        {...rest}
        {...(className === undefined ? {} : { className })}
        href={href}
        {...(isHere ? {} : { target: "_blank", rel: "noopener noreferrer nofollow" })}
      >
        {isImage && <Image aria-hidden="true" />}
        {children}
      </a>
    );
  },
  // The only inputs that are left are the boxes of task lists, which nobody can tick here.
  input: ({ node, ...rest }) => <input {...rest} aria-label={rest.checked ? "Done" : "Not done"} />,
  // Wide tables and code scroll on their own, by keyboard too.
  table: ({ node, ...rest }) => (
    <div className="scroll-x" tabIndex={0} role="region" aria-label="Table">
      <table {...rest} />
    </div>
  ),
  pre: ({ node, ...rest }) => <pre {...rest} tabIndex={0} />,
};

/** GitHub-flavoured Markdown, with HTML read as GitHub does and sanitised after. */
export default function Markdown({ text }: { text: string }) {
  return (
    <ReactMarkdown
      remarkPlugins={[remarkGfm]}
      rehypePlugins={[rehypeRaw, [rehypeSanitize, schema], imagesAsLinks]}
      components={components}
    >
      {text}
    </ReactMarkdown>
  );
}

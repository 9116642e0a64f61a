import { useParams } from "@tanstack/react-router";
import { Unknown } from "../shell/unknown";
import { IssuePage } from "./issue-page";

export function IssueRoute() {
  const { issueId } = useParams({ from: "/issues/$issueId" });
  if (!/^\d{1,15}$/.test(issueId)) return <Unknown />;
  return <IssuePage key={issueId} id={Number(issueId)} />;
}

import { RouterProvider } from "@tanstack/react-router";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { router } from "./router";
import { SessionGate } from "./shell/session";
import { NoticeProvider } from "./ui/notices";
import "./styles/tokens.css";
import "./styles/base.css";
import "./styles/ui.css";
import "./styles/shell.css";
import "./styles/list.css";
import "./styles/issue.css";
import "./styles/system.css";
import "./styles/repository.css";
import "./styles/challenger.css";

const root = document.getElementById("root");
if (root === null) throw new Error("index.html has no #root");

createRoot(root).render(
  <StrictMode>
    <NoticeProvider>
      <SessionGate>
        <RouterProvider router={router} />
      </SessionGate>
    </NoticeProvider>
  </StrictMode>,
);

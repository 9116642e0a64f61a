// Replaces the page's content when there is news. Without scripts the page
// reloads itself.
const main = document.querySelector("main");

async function look() {
  try {
    const answer = await fetch("/progress", { cache: "no-store" });
    if (!answer.ok) throw new Error(String(answer.status));
    const news = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main");
    // What has not changed stays, and with it what is focused or being clicked.
    if (!news.isEqualNode(main)) {
      main.dataset.step = news.dataset.step;
      main.replaceChildren(...news.childNodes);
    }
  } catch {
    document.getElementById("ended").hidden = false;
    return;
  }
  if (main.dataset.step !== "done") setTimeout(look, 700);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (button) navigator.clipboard.writeText(button.dataset.copy).then(() => (button.textContent = "Copied"));
});

look();

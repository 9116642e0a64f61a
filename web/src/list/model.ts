import { arrive, EMPTY_ORDER, isWorn, release, takeSnapshot, type ListOrder } from "./order";

/** The order of one list, shared by the query that fills it and the stream that adds to it. */
export class ListModel {
  private order: ListOrder = EMPTY_ORDER;
  private held = false;
  private startOver = false;
  private readonly listeners = new Set<() => void>();

  /** Takes the IDs of all pages loaded so far. */
  snapshot(ids: readonly number[]): void {
    const base = this.startOver ? EMPTY_ORDER : this.order;
    this.startOver = false;
    this.set(takeSnapshot(base, ids, this.held));
  }

  /** Takes new issues in the order they came; an ID already in the list changes nothing. */
  arrive(ids: Iterable<number>): void {
    let order = this.order;
    for (const id of ids) order = arrive(order, id, this.held);
    this.set(order);
  }

  /** While held, new issues wait; when let go, they are shown. */
  hold(held: boolean): void {
    this.held = held;
    if (!held) this.set(release(this.order));
  }

  /** Shows what waits, and goes on holding. */
  release(): void {
    this.set(release(this.order));
  }

  /** What is shown stays until the next snapshot, which then replaces it. */
  restart(): void {
    this.startOver = true;
  }

  isWorn(): boolean {
    return !this.held && isWorn(this.order);
  }

  subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  getOrder = (): ListOrder => this.order;

  private set(order: ListOrder): void {
    if (order === this.order) return;
    this.order = order;
    for (const listener of this.listeners) listener();
  }
}

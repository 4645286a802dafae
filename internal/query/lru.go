package query

import "container/list"

// lru is a table of bounded size that evicts the least recently used entry. The caller locks.
type lru[K comparable, V any] struct {
	size    int
	entries map[K]*list.Element
	order   *list.List // of *lruEntry[K, V], used last first
}

type lruEntry[K comparable, V any] struct {
	key   K
	value V
}

func newLRU[K comparable, V any](size int) *lru[K, V] {
	return &lru[K, V]{size: size, entries: map[K]*list.Element{}, order: list.New()}
}

// get returns the value of key, and builds it if it is missing.
func (c *lru[K, V]) get(key K, build func() V) V {
	if e, ok := c.entries[key]; ok {
		c.order.MoveToFront(e)
		return e.Value.(*lruEntry[K, V]).value
	}
	value := build()
	c.entries[key] = c.order.PushFront(&lruEntry[K, V]{key, value})
	if c.order.Len() > c.size {
		oldest := c.order.Back()
		delete(c.entries, oldest.Value.(*lruEntry[K, V]).key)
		c.order.Remove(oldest)
	}
	return value
}

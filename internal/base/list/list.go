// Package list is a doubly linked list whose nodes are fields of the values they link. Adding allocates nothing, and a value
// leaves the list without a search.
package list

// Node links a value into one list. The zero node is in none.
type Node[T any] struct {
	prev, next *Node[T]
	value      *T
}

// List is a list of values of type T. The zero list is empty. The caller knows which node is in which list.
type List[T any] struct {
	first, last *Node[T]
}

// First returns the first value, or nil.
func (l *List[T]) First() *T { return l.first.get() }

// Last returns the last value, or nil.
func (l *List[T]) Last() *T { return l.last.get() }

// Prev returns the value before n, or nil.
func (n *Node[T]) Prev() *T { return n.prev.get() }

// Next returns the value after n, or nil.
func (n *Node[T]) Next() *T { return n.next.get() }

func (n *Node[T]) get() *T {
	if n == nil {
		return nil
	}
	return n.value
}

// PushBack adds v, whose node is n, as the last value.
func (l *List[T]) PushBack(n *Node[T], v *T) {
	n.prev, n.next, n.value = l.last, nil, v
	l.link(n)
}

// PushFront adds v, whose node is n, as the first value.
func (l *List[T]) PushFront(n *Node[T], v *T) {
	n.prev, n.next, n.value = nil, l.first, v
	l.link(n)
}

// Replace puts v, whose node is n, where old is, and removes old.
func (l *List[T]) Replace(old, n *Node[T], v *T) {
	n.prev, n.next, n.value = old.prev, old.next, v
	*old = Node[T]{}
	l.link(n)
}

// Remove removes n.
func (l *List[T]) Remove(n *Node[T]) {
	if n.prev == nil {
		l.first = n.next
	} else {
		n.prev.next = n.next
	}
	if n.next == nil {
		l.last = n.prev
	} else {
		n.next.prev = n.prev
	}
	*n = Node[T]{}
}

// link makes n's neighbours, or the ends of the list, point to n.
func (l *List[T]) link(n *Node[T]) {
	if n.prev == nil {
		l.first = n
	} else {
		n.prev.next = n
	}
	if n.next == nil {
		l.last = n
	} else {
		n.next.prev = n
	}
}

package quota

// Keys is how many keys a meter keeps.
func Keys(m *Meter) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.windows)
}

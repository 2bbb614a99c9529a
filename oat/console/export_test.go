package console

import "slices"

// Routes are the routes for owners, each as its method and its path below the prefix.
func Routes(c *Console) (all []string) {
	for _, route := range c.routes {
		if route.open {
			continue
		}
		if route.get != nil {
			all = append(all, "GET "+route.path)
		}
		if route.post != nil {
			all = append(all, "POST "+route.path)
		}
	}
	slices.Sort(all)
	return all
}

"""Will this medium start on the machine at hand, and see its disks?"""

"""Stand-ins for what envpack meets on the network, real in kind and served on 127.0.0.1.

=================  ==========================================================================
the real thing     its stand-in
=================  ==========================================================================
conda-forge        packages built here from PyPI wheels, this machine's CPython and libraries
Docker Hub         Debian's ``docker-registry``
``ubuntu:20.04``…  one image made of the packages that apt is set up for
=================  ==========================================================================

None of it needs root, a compiler or conda. What is built is kept in ``store.root()`` and reused.
"""

"""Stand-ins for what envpack meets on the network, real in kind and served on 127.0.0.1.

=================  ==========================================================================
the real thing     its stand-in
=================  ==========================================================================
conda-forge        packages built here from PyPI wheels, this machine's CPython and libraries
Docker Hub         Debian's ``docker-registry``
``ubuntu:20.04``…  one image made of the packages that apt is set up for
``debian:12``      what debootstrap makes, with the settings of this machine's apt; this one needs root
=================  ==========================================================================

None of the others needs root, and none a compiler or conda. What is built is kept in ``store.root()`` and
reused.
"""
